/** The estate as a visitor sees it. Green here means observed: names, ports, certificate and login page, asked from outside. */

import { blocked, done, todo } from '../engine/step.ts'
import { LandfallError } from '../errors.ts'
import type { Estate, ServerSpec } from '../estate/estate.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { DnsAnswer, PortState, TlsReport } from '../providers/ports/outside.ts'
import type { Deps, EstateStep } from './deps.ts'
import { readyStep } from './nixos.ts'
import { findServer } from './server.ts'

/** What must never answer anyone outside: swarm's control plane and gossip, and the databases behind the applications. */
export const NEVER_OPEN = [2377, 5432, 6379, 7946] as const
/** Silence is what is hoped for here, so each look pays this wait. */
const CLOSED_TIMEOUT_MS = 1_500
/** What is open answers at once; only a lost packet, which is sent again after 1 s and 3 s, or a busy machine makes it late. */
const OPEN_TIMEOUT_MS = 5_000

export interface OutsideState {
  readonly ports: Readonly<Record<number, PortState>>
  /** Only for a server with a panel name. */
  readonly name?: {
    readonly host: string
    readonly answers: readonly DnsAnswer[]
    readonly tls: TlsReport
    readonly login: 'answers' | 'absent'
  }
}

export interface OutsideReader {
  read(spec: ServerSpec, server: Server): Promise<OutsideState>
}

type OutsideDeps = Pick<Deps, 'outside' | 'estate'>

export function createOutsideReader({ outside, estate }: OutsideDeps): OutsideReader {
  return {
    async read(spec, server) {
      const address = server.ipv4 ?? server.ipv6
      if (!address) return { ports: {} }
      const probe = (ports: readonly number[], timeoutMs: number) =>
        ports.map(async port => [port, await outside.probePort(address, port, timeoutMs)] as const)
      const [ports, name] = await Promise.all([
        Promise.all([...probe(wantedOpen(spec), OPEN_TIMEOUT_MS), ...probe(NEVER_OPEN, CLOSED_TIMEOUT_MS)]),
        readName({ outside, estate }, spec, address),
      ])
      return { ports: Object.fromEntries(ports), ...(name ? { name } : {}) }
    },
  }
}

const wantedOpen = (spec: ServerSpec): readonly number[] => [22, ...(spec.dokploy || spec.service ? [80, 443] : [])]

async function readName({ outside, estate }: OutsideDeps, spec: ServerSpec, address: string): Promise<OutsideState['name']> {
  const host = spec.dokploy?.host
  if (!host || !estate.dns) return undefined
  const [answers, tls] = await Promise.all([outside.askAuthoritative(estate.dns.zone, host, 'A'), outside.readTls(host, address)])
  return { host, answers, tls, login: tls.state === 'trusted' ? await readLoginPage({ outside }, host, address) : 'absent' }
}

async function readLoginPage({ outside }: Pick<Deps, 'outside'>, host: string, address: string): Promise<'answers' | 'absent'> {
  try {
    const page = await outside.fetchPage(`https://${host}/api/health`, { address })
    return page.status === 200 ? 'answers' : 'absent'
  } catch (error) {
    if (error instanceof LandfallError && (error.code === 'network' || error.code === 'timeout')) return 'absent'
    throw error
  }
}

/** `exposed` never heals by waiting; `missing` may. */
export interface Fault {
  readonly kind: 'exposed' | 'missing'
  readonly text: string
}

/** What is not as it should be; empty when all is well. Pure. */
export function findFaults(estate: Pick<Estate, 'dns'>, spec: ServerSpec, server: Server, seen: OutsideState): Fault[] {
  const exposed = NEVER_OPEN.filter(port => seen.ports[port] === 'open').map(
    (port): Fault => ({ kind: 'exposed', text: `port ${port} of ${spec.name} is open to the internet` }),
  )
  const missing = wantedOpen(spec)
    .filter(port => seen.ports[port] !== 'open')
    .map(port => `port ${port} of ${spec.name} does not answer`)
  const nameFaults = seen.name ? findNameFaults(estate, server, seen.name) : []
  return [...exposed, ...[...missing, ...nameFaults].map((text): Fault => ({ kind: 'missing', text }))]
}

function findNameFaults(estate: Pick<Estate, 'dns'>, server: Server, name: NonNullable<OutsideState['name']>): string[] {
  const proxied = estate.dns?.records.find(each => each.name === name.host)?.proxied ?? false
  const wrong = name.answers.filter(
    each => each.status !== 'ok' || (!proxied && server.ipv4 !== undefined && !each.values.includes(server.ipv4)),
  )
  return [
    ...(name.answers.length === 0 ? [`${name.host}: no authoritative server was found`] : []),
    ...wrong.map(each => `${each.server} answers ${each.values.join(', ') || each.status} for ${name.host}`),
    ...(name.tls.state === 'trusted'
      ? name.login === 'answers'
        ? []
        : [`https://${name.host} does not answer as Dokploy`]
      : [`https://${name.host} has no trusted certificate${name.tls.why ? ` (${name.tls.why})` : ''}`]),
  ]
}

/** Whatever makes the last of a server's ports answer: where it fails, nobody shall wait for them. */
const needOf = (spec: ServerSpec): string => {
  if (spec.dokploy) return spec.dokploy.host ? `panel ${spec.dokploy.host}` : `dokploy ${spec.name} owner`
  return spec.service ? `service ${spec.name}` : readyStep(spec)
}

const SEEN_TIMEOUT_MS = 5 * 60_000
const SEEN_POLL_MS = 2_000

/** A visitor finds the server as the estate wants it. */
export function outsideStep(deps: OutsideDeps & Pick<Deps, 'clock'>, spec: ServerSpec): EstateStep {
  const { estate } = deps
  const host = spec.dokploy?.host
  const reader = createOutsideReader(deps)
  const look = { kind: 'wait', summary: `look at ${host ? `https://${host}` : spec.name} from outside` } as const
  return {
    id: `outside ${spec.name}`,
    noun: spec.dokploy ? 'dokploy' : 'server',
    title: host ? `visitors reach https://${host} and nothing else` : `strangers reach what ${spec.name} offers and nothing else`,
    needs: [needOf(spec)],
    reads: ['servers', 'outside', 'machines', 'panels'],
    typicalMs: 20_000,
    look(world) {
      const server = findServer(estate.name, spec.name, world.get('servers'))
      if (server?.status !== 'running' || world.get('machines')[spec.name]?.state !== 'ready')
        return blocked(`server ${spec.name}`, look)
      const panel = world.get('panels')[spec.name]
      if (host && (panel?.state !== 'up' || panel.settings?.host !== host)) return blocked(`panel ${host}`, look)
      if (spec.dokploy && panel?.state !== 'up') return blocked(`Dokploy on ${spec.name}`, look)
      const seen = world.get('outside')[spec.name]
      if (seen && findFaults(estate, spec, server, seen).length === 0)
        return done(seen.name ? `certificate by ${seen.name.tls.issuer ?? 'a trusted issuer'}` : 'ports as wanted')
      return todo({
        ...look,
        async apply({ world: live, signal, log }) {
          const deadlineMs = deps.clock.monotonicMs() + SEEN_TIMEOUT_MS
          for (;;) {
            const now = await reader.read(spec, server)
            const faults = findFaults(estate, spec, server, now)
            if (faults.length === 0) {
              live.update('outside', all => ({ ...all, [spec.name]: now }))
              return
            }
            if (faults.some(fault => fault.kind === 'exposed') || deps.clock.monotonicMs() > deadlineMs)
              throw new LandfallError('unhealthy', `Seen from outside: ${faults.map(fault => fault.text).join('; ')}.`, {
                hint: `Look closer: bun scripts/doctor.ts`,
              })
            log(faults[0]?.text ?? '')
            await deps.clock.sleep(SEEN_POLL_MS, signal)
          }
        },
      })
    },
  }
}
