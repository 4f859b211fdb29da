/** Looks for what would make a run fail later, without changing anything: each finding with its cause and the command that mends it. */

import type { Composition } from './compose.ts'
import type { Environment } from './environment.ts'
import { LandfallError } from './errors.ts'
import { chooseOffer } from './estate/choose.ts'
import { PANEL_PORT } from './estate/derive.ts'
import type { Estate } from './estate/estate.ts'
import { wouldCutOff } from './estate/firewall.ts'
import { isOurs } from './estate/labels.ts'
import { CONSOLES, type Firewall, type FirewallRule, type Server } from './providers/ports/cloud.ts'
import type { Opened, Session } from './script.ts'
import { judgeGuards } from './steps/guard.ts'
import { chooseImage } from './steps/image.ts'
import { NEVER_OPEN } from './steps/outside.ts'
import { judgeSwarms } from './swarm-check.ts'
import { wrap } from './ui/wrap.ts'

export interface Diagnosis {
  readonly name: string
  readonly state: 'ok' | 'warn' | 'fail'
  readonly detail: string
  /** The next command, or where to go. */
  readonly fix?: string
}

type Check = { readonly name: string; readonly run: () => Promise<Omit<Diagnosis, 'name'>> }

const ok = (detail: string) => ({ state: 'ok', detail }) as const
const warn = (detail: string, fix: string) => ({ state: 'warn', detail, fix }) as const
const fail = (detail: string, fix: string) => ({ state: 'fail', detail, fix }) as const

const WIDTH = 80
const MARKS = { ok: '✓', warn: '!', fail: '✗' } satisfies Record<Diagnosis['state'], string>

/** Prints the findings; 1 when one of them would make a run fail. */
export async function showDiagnoses(session: Session, { estate, composition }: Opened): Promise<number> {
  const { findSshClient } = await import('./providers/ssh/ssh.ts')
  const { environment } = session
  const found = await diagnose({
    estate,
    environment,
    composition,
    sshClient: findSshClient(),
    tlsChecksOff: environment.tlsChecksOff,
  })
  const told = new Set<string>()
  for (const { name, state, detail, fix } of found) {
    // One missing token fails many checks; its mend is said once.
    const mend = fix === undefined || told.has(fix) ? [] : wrap(fix, WIDTH, '    → ')
    if (fix !== undefined) told.add(fix)
    const text = [...wrap(`${name}: ${detail}`, WIDTH, `${MARKS[state]} `), ...mend].join('\n')
    session.reporter.page(text, { check: name, state, detail, ...(fix ? { fix } : {}) })
  }
  return found.some(each => each.state === 'fail') ? 1 : 0
}

export interface DoctorInput {
  readonly estate: Estate
  readonly environment: Environment
  readonly composition: Pick<Composition, 'deps' | 'readers'>
  readonly sshClient: 'system' | 'builtin'
  readonly tlsChecksOff: boolean
}

/** Runs every check side by side; a check that throws is a failure with that error's own hint. */
export async function diagnose(input: DoctorInput): Promise<Diagnosis[]> {
  const checks = [...localChecks(input), ...cloudChecks(input), ...(input.estate.dns ? dnsChecks(input) : [])]
  return Promise.all(
    checks.map(async ({ name, run }) => {
      try {
        return { name, ...(await run()) }
      } catch (error) {
        if (!(error instanceof LandfallError)) throw error
        return { name, ...fail(error.message, error.hint ?? 'Run the same command again.') }
      }
    }),
  )
}

/** Ports that are nobody's business but are open to the whole of a family, in words. Pure. */
export function openToEverybody(rules: readonly FirewallRule[]): string[] {
  const families = [
    { name: 'IPv4', anybody: '0.0.0.0' },
    { name: 'IPv6', anybody: '::' },
  ]
  return [PANEL_PORT, ...NEVER_OPEN].flatMap(port => {
    const open = families.filter(({ anybody }) => !wouldCutOff(rules, anybody, port))
    return open.length === 0 ? [] : [`port ${port} over ${open.map(family => family.name).join(' and ')}`]
  })
}

/** How the firewalls of a server differ from what config.json gives it, as sentence parts. Pure. */
function guardTroubles(estate: Estate, server: Server, walls: readonly Firewall[]): string[] {
  const spec = estate.servers.find(each => each.name === server.name)
  if (!spec) return []
  const { missing, surplus } = judgeGuards(estate, spec, server, walls)
  return [
    ...(missing.length > 0 && server.firewallIds.length === 0
      ? [`${server.name} has no cloud firewall`]
      : missing.map(name => `${server.name} is not behind firewall ${name}`)),
    ...surplus.map(each => `${server.name} has firewall ${each.name}, which config.json does not give it`),
  ]
}

const localChecks = ({ sshClient, tlsChecksOff, estate }: DoctorInput): Check[] => [
  {
    name: 'ssh client',
    run: async () =>
      sshClient === 'system'
        ? ok('the system’s ssh')
        : warn(
            'no ssh is installed; a rehearsal uses the built-in one',
            'Install OpenSSH’s client before a real run: apt install openssh-client',
          ),
  },
  {
    name: 'TLS checks',
    run: async () =>
      tlsChecksOff
        ? fail(
            'NODE_TLS_REJECT_UNAUTHORIZED=0 switches certificate checks off, tokens included',
            'unset NODE_TLS_REJECT_UNAUTHORIZED',
          )
        : ok('on'),
  },
  {
    name: 'SSH keys',
    run: async () =>
      estate.keys.length > 0
        ? ok(estate.keys.map(key => key.name).join(', '))
        : fail('no public key is known, so nobody could log in', 'ssh-keygen -t ed25519'),
  },
]

const cloudChecks = ({ estate, composition: { deps, readers } }: DoctorInput): Check[] => {
  const once = <T>(read: () => Promise<T>): (() => Promise<T>) => {
    let value: Promise<T> | undefined
    return () => {
      value ??= read()
      return value
    }
  }
  const types = once(() => deps.cloud.listServerTypes())
  const servers = once(() => deps.cloud.listServers())
  const images = once(() => deps.cloud.listImages())
  const get = (async (slice: 'servers') => readers[slice](get)) as Parameters<typeof readers.machines>[0]
  const missing = async () => {
    const have = await servers()
    return estate.servers.filter(spec => !have.some(server => server.name === spec.name))
  }
  return [
    {
      name: estate.cloud === 'digitalocean' ? 'DigitalOcean token' : 'Hetzner token',
      run: async () => {
        await deps.cloud.probeWrite()
        return ok('may read and write')
      },
    },
    {
      name: 'project',
      run: async () => {
        const have = await servers()
        const strangers = estate.servers.filter(spec =>
          have.some(each => each.name === spec.name && !isOurs(each.labels, estate.name)),
        )
        if (strangers.length > 0)
          return fail(
            `${strangers.map(each => each.name).join(', ')} exists and does not belong to this estate`,
            `Rename it in ${CONSOLES[deps.cloud.vendor]}, or choose another "project" in config.json.`,
          )
        return ok(`${have.length} servers, ${have.filter(each => isOurs(each.labels, estate.name)).length} of them ours`)
      },
    },
    {
      name: 'stock',
      run: async () => {
        for (const spec of await missing()) {
          const offer = chooseOffer(spec, await types())
          if ('problem' in offer) return fail(offer.problem, 'bun scripts/provision.ts plan  (names what can be had instead)')
        }
        return ok('everything that is still to be created can be had')
      },
    },
    {
      name: 'image',
      run: async () => {
        for (const spec of await missing()) {
          const choice = chooseImage(spec.image, 'x86', await images())
          if (choice.state === 'missing') return fail(choice.why, choice.hint)
        }
        return ok('found, or not needed')
      },
    },
    {
      name: 'exposure',
      run: async () => {
        const have = (await servers()).filter(each => isOurs(each.labels, estate.name) && each.status === 'running')
        const walls = await deps.cloud.listFirewalls()
        const wrong = have.flatMap(server => guardTroubles(estate, server, walls))
        if (wrong.length > 0)
          return fail(
            `${wrong.join('; ')}; a firewall on the machine does not stop what Docker publishes`,
            'bun scripts/firewall.ts',
          )
        const bare = have.filter(each => each.firewallIds.length === 0 && (each.ipv4 ?? each.ipv6) !== undefined)
        if (bare.length > 0)
          return fail(
            `${bare.map(each => each.name).join(', ')} has no cloud firewall, and config.json names none for it`,
            `Attach one in ${CONSOLES[deps.cloud.vendor]}, or delete it there.`,
          )
        const leaks = have.flatMap(server => {
          const rules = walls.filter(wall => server.firewallIds.includes(wall.id)).flatMap(wall => wall.rules)
          return openToEverybody(rules).map(leak => `${server.name} on ${leak}`)
        })
        if (leaks.length > 0)
          return fail(`the cloud firewall lets everybody in to ${leaks.join(', ')}`, 'bun scripts/firewall.ts')
        const open = await Promise.all(
          have.flatMap(server =>
            [server.ipv4, server.ipv6]
              .filter(address => address !== undefined)
              .flatMap(address =>
                NEVER_OPEN.map(async port =>
                  (await deps.outside.probePort(address, port, 1_500)) === 'open' ? [`${address} ${port}`] : [],
                ),
              ),
          ),
        )
        const exposed = open.flat()
        return exposed.length > 0
          ? fail(`the internet reaches ${exposed.join(', ')}`, 'bun scripts/firewall.ts')
          : ok('only what the estate allows')
      },
    },
    {
      name: 'machines',
      run: async () => {
        const machines = Object.entries(await readers.machines(get))
        const troubled = machines.flatMap(([name, state]) =>
          state.state === 'ready' || state.state === 'unpinned' ? [] : [`${name}: ${state.why}`],
        )
        const skewed = machines.flatMap(([name, state]) =>
          state.state === 'ready' && Math.abs(state.facts.clockS * 1000 - deps.clock.nowMs()) > 300_000 ? [name] : [],
        )
        if (troubled.length > 0) return fail(troubled.join('; '), 'bun scripts/status.ts')
        if (skewed.length > 0)
          return warn(`the clock of ${skewed.join(', ')} differs from this one by more than 5 minutes`, 'Check NTP on both.')
        return ok(machines.length > 0 ? `${machines.length} answer with their pinned keys` : 'none yet')
      },
    },
    ...(estate.servers.some(spec => spec.dokploy)
      ? [
          {
            name: 'swarms',
            run: async () => judgeSwarms(estate, await readers.swarms(get)),
          },
        ]
      : []),
  ]
}

const dnsChecks = ({ estate, composition: { deps } }: DoctorInput): Check[] => [
  {
    name: 'Cloudflare token',
    run: async () => {
      await deps.dns.verifyToken()
      const zoneName = estate.dns?.zone ?? ''
      const zone = await deps.dns.findZone(zoneName)
      if (!zone)
        return fail(
          `the token sees no zone for ${zoneName}`,
          'Add the domain at Cloudflare, or make the token with Zone → Zone → Read and Zone → DNS → Edit on exactly this zone.',
        )
      await deps.dns.probeWrite(zone.id)
      if (zone.status !== 'active')
        return fail(
          `zone ${zone.name} is ${zone.status}`,
          `Set the nameservers ${zone.nameservers.join(' and ')} at the registrar.`,
        )
      return ok(`may edit ${zone.name}`)
    },
  },
  {
    name: 'delegation',
    run: async () => {
      const zoneName = estate.dns?.zone ?? ''
      const [zone, found] = await Promise.all([deps.dns.findZone(zoneName), deps.outside.findNameservers(zoneName)])
      const wanted = zone?.nameservers.map(name => name.toLowerCase()) ?? []
      const seen = found.map(each => each.name.toLowerCase())
      if (!zone)
        return warn(
          `${seen.join(', ') || 'nobody'}; whether that is right shows when the token sees the zone`,
          'Mend the token first.',
        )
      const strange = seen.filter(name => !wanted.includes(name))
      if (seen.length === 0)
        return fail(`${zoneName} is not delegated at all`, `Set the nameservers ${wanted.join(' and ')} at the registrar.`)
      if (strange.length > 0)
        return fail(
          `the registrar points ${zoneName} to ${strange.join(', ')}`,
          `Set the nameservers ${wanted.join(' and ')} at the registrar.`,
        )
      return ok(seen.join(', '))
    },
  },
]
