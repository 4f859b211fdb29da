/** The life of one estate, from nothing and back, beside strangers that look like it. Tests run in order; each is about the next chapter. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isLetIn } from '../../../lib/sandbox/exposure.ts'
import { OPERATOR } from '../../../lib/sandbox/internet.ts'
import { SANDBOX_TOKENS } from '../../../lib/sandbox/sandbox.ts'
import { type Elsewhere, from } from './elsewhere.ts'
import { callAs, closePlaces, type Ended, filesBelow, lockIn, mutationsIn, openPlace, type Place, truthOf } from './run.ts'
import { createWatch, exposedInstants } from './watch.ts'

const OURS = ['dev-dokploy', 'prod-dokploy']
const MUTATING = ['setup --yes', 'provision apply --yes', 'firewall --yes', 'dokploy --yes', 'dns --yes']
const PLANS = [
  ...MUTATING.map(command => command.replace('--yes', '--plan')),
  'provision plan',
  'destroy --plan',
  'provision destroy --plan',
]
const HOME = '203.0.114.77'

const watch = createWatch()
let place: Place
let elsewhere: Elsewhere
let strangers: string
let planned: readonly Ended[]
let filesAfterPlans: readonly string[]
let first: Ended

const OTHER_ESTATE = { 'landfall/estate': 'example2', 'landfall/role': 'prod', 'landfall/run': 'x' }
const RULES = [{ direction: 'in', protocol: 'tcp', port: '22', source_ips: ['0.0.0.0/0', '::/0'] }]

/** Objects that share a prefix, a form or a label's key with ours, and are somebody else's. */
const plantStrangers = async ({ sandbox }: Place): Promise<void> => {
  const create = (path: string, body: unknown) => callAs(sandbox, 'hetzner', 'POST', path, body)
  const server = { server_type: 'cx23', location: 'nbg1', image: 'debian-12' }
  await create('/servers', { ...server, name: 'prod-dokploy-2' })
  await create('/servers', { ...server, name: 'prod-dokploy-old', labels: OTHER_ESTATE })
  await create('/firewalls', { name: 'example-dokploy-2', rules: RULES })
  await create('/firewalls', { name: 'example2-dokploy', rules: RULES, labels: OTHER_ESTATE })
  await create('/networks', { name: 'example', ip_range: '10.9.0.0/16' })
  await create('/ssh_keys', {
    name: 'example-laptop',
    public_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/ laptop',
  })
  const record = { ttl: 300, proxied: false }
  for (const one of [
    { type: 'A', name: 'www.example.com', content: '192.0.2.10' },
    {
      type: 'A',
      name: 'admin2.example.com',
      content: '192.0.2.11',
      comment: 'landfall estate=example2 server=prod-dokploy id=1',
    },
    { type: 'TXT', name: 'admin.example.com', content: '"kept"' },
    { type: 'MX', name: 'example.com', content: 'mail.example.net', priority: 10 },
  ])
    sandbox.controls.cloudflare.addRecord('example.com', { ...record, ...one })
}

/** Everything that is not ours, byte for byte, as far as it does not change by itself. */
const strangersIn = ({ sandbox }: Place): string => {
  const { servers, firewalls, networks, keys, ips } = sandbox.controls.hetzner.dump()
  const foreign = (rows: readonly { readonly labels: Readonly<Record<string, string>> }[]) =>
    rows.filter(row => row.labels['landfall/estate'] !== 'example' && row.labels['landfall/lock'] === undefined)
  const theirs = servers.filter(server => !OURS.includes(server.name)).map(server => server.id)
  const records = sandbox.controls.cloudflare.records('example.com').filter(one => !one.comment?.includes('estate=example '))
  return JSON.stringify(
    [
      foreign(servers),
      foreign(firewalls),
      foreign(networks),
      foreign(keys),
      ips.filter(ip => theirs.includes(ip.assignee ?? 0)),
      records,
    ],
    null,
    1,
  )
}

const oursIn = ({ sandbox }: Place): readonly string[] => {
  const { servers, firewalls, networks, keys, ips } = sandbox.controls.hetzner.dump()
  const labelled = [...servers, ...firewalls, ...networks, ...keys].filter(row => row.labels['landfall/estate'] === 'example')
  const records = sandbox.controls.cloudflare.records('example.com').filter(one => one.comment?.includes('estate=example '))
  const loose = ips.filter(ip => ip.assignee === null)
  return [...labelled.map(row => row.name), ...records.map(row => `${row.name} ${row.type}`), ...loose.map(ip => ip.ip)].sort()
}

const reaches = (source: string, port: number, name = 'prod-dokploy'): boolean => {
  const { hetzner } = place.sandbox.controls
  const server = hetzner.dump().servers.find(each => each.name === name)
  return server !== undefined && isLetIn(hetzner.exposure(server.id), source, port)
}

/** A few at a time: a look that waits for a processor would take a machine for silent. */
const all = async (commands: readonly string[]): Promise<readonly Ended[]> => {
  const left = [...commands]
  const ended: Ended[] = []
  const work = async () => {
    for (let command = left.shift(); command !== undefined; command = left.shift()) ended.push(await place.run(command))
  }
  await Promise.all([work(), work(), work()])
  return ended.toSorted((a, b) => commands.indexOf(a.command) - commands.indexOf(b.command))
}

beforeAll(async () => {
  place = await openPlace(undefined, { hooks: watch.hooks, seed: { zones: ['example.com'], goldenImage: true } })
  elsewhere = await from(HOME, place.sandbox)
  await plantStrangers(place)
  await Bun.sleep(80)
  strangers = strangersIn(place)
  watch.begin(place.sandbox, OURS)
  planned = await all(PLANS)
  filesAfterPlans = Object.keys(filesBelow(place.cwd))
  first = await place.run('setup --yes --json')
}, 60_000)

afterAll(async () => {
  await elsewhere.close()
  await closePlaces()
})

describe('before anything exists', () => {
  test('--plan of every script asks without writing, and leaves neither lock nor journal nor any other file', () => {
    for (const run of planned) {
      expect([run.command, mutationsIn(run.requests)]).toEqual([run.command, []])
      expect([run.command, run.code]).toEqual([run.command, run.command.includes('destroy') ? 0 : 2])
    }
    expect(filesAfterPlans).toEqual(['config.json'])
  })
})

describe('setup', () => {
  test('ends with every step done', () => {
    expect([first.code, first.errors(), first.stderr]).toEqual([0, [], ''])
    const ends = new Map(
      first
        .lines()
        .filter(line => line.type === 'step')
        .map(line => [line.id, line.state]),
    )
    expect([...ends].filter(([, state]) => state !== 'done')).toEqual([])
    expect(ends.has('verification')).toBe(true)
    expect(ends.size).toBeGreaterThan(20)
  })

  test('tells the addresses that the servers have', () => {
    const { servers, ips } = place.sandbox.controls.hetzner.dump()
    const addressOf = (name: string) => {
      const server = servers.find(each => each.name === name)
      return ips.find(ip => ip.id === server?.ipv4)?.ip ?? 'none'
    }
    expect(first.summary().outputs).toMatchObject({
      dev_ip: addressOf('dev-dokploy'),
      prod_ip: addressOf('prod-dokploy'),
      dev_url: 'https://dev.admin.example.com',
      prod_url: 'https://admin.example.com',
    })
  })

  test('prints one object of a known type per line, the plan first and one summary last', () => {
    const lines = first.lines()
    expect(lines[0]).toMatchObject({ type: 'plan', counts: { destroy: 0, refused: 0 } })
    expect(lines.at(-1)?.type).toBe('summary')
    expect(lines.filter(line => line.type === 'plan')).toHaveLength(1)
    for (const line of lines.filter(each => each.type === 'step'))
      expect(line).toMatchObject({
        id: expect.any(String),
        noun: expect.any(String),
        title: expect.any(String),
        elapsedMs: expect.any(Number),
      })
  })

  test('has applied as many changes as its plan announced', () => {
    const { ok, changes, applied, durationMs } = first.summary()
    expect([ok, applied]).toEqual([true, changes])
    expect(durationMs).toBeGreaterThan(first.elapsedMs / 2)
    expect(durationMs).toBeLessThanOrEqual(first.elapsedMs)
  })

  test('counts its requests as the vendors do, the lock’s included', () => {
    const { requests } = first.summary()
    for (const vendor of ['hetzner', 'cloudflare', 'dokploy'] as const) {
      const seen = first.requests.filter(request => request.vendor === vendor)
      const writes = mutationsIn(seen).length
      expect([vendor, requests[vendor]?.writes]).toEqual([vendor, writes])
      // A visitor's look at the panel's health route reaches Dokploy too, and counts as a look from outside.
      const visits = seen.filter(request => request.path === '/api/health').length
      const reads = requests[vendor]?.reads ?? 0
      expect(reads).toBeGreaterThanOrEqual(seen.length - writes - visits)
      expect(reads).toBeLessThanOrEqual(seen.length - writes)
    }
  })

  test('makes exactly what config.json describes, and releases the estate', () => {
    const { servers, keys } = place.sandbox.controls.hetzner.dump()
    const key = keys.find(each => each.labels['landfall/estate'] === 'example')?.name
    expect(oursIn(place)).toEqual(
      [
        ...OURS,
        'example-dokploy',
        key ?? 'no key',
        ...['admin.example.com', 'dev.admin.example.com'].flatMap(name => [`${name} A`, `${name} AAAA`]),
      ].sort(),
    )
    expect(
      servers
        .filter(server => OURS.includes(server.name))
        .map(({ name, type, location, status }) => [name, type, location, status]),
    ).toEqual([
      ['dev-dokploy', 'cx23', 'nbg1', 'running'],
      ['prod-dokploy', 'cx33', 'nbg1', 'running'],
    ])
    expect(lockIn(place.sandbox)).toBeUndefined()
  })

  test('serves each panel under its name with one admin, and nobody else’s', () => {
    for (const [name, host] of [
      ['dev-dokploy', 'dev.admin.example.com'],
      ['prod-dokploy', 'admin.example.com'],
    ] as const)
      expect(place.sandbox.controls.machines.dokploy(name).dump()).toMatchObject({
        admins: ['admin@example.com'],
        apiKeys: ['landfall'],
        settings: { host, https: true },
      })
  })

  test('leaves files of its owner alone', () => {
    const files = Object.entries(filesBelow(join(place.cwd, '.landfall')))
    expect(files.map(([name]) => name).filter(name => !name.includes('known_hosts/'))).toEqual([
      'example',
      'example/ctl',
      'example/id_ed25519',
      'example/id_ed25519.pub',
      'example/journal.ndjson',
      'example/known_hosts',
    ])
    for (const [name, what] of files) expect([name, what.split(' ')[0]]).toEqual([name, what.includes(' ') ? '600' : '700'])
  })
})

/**
 * Runs until one says that all is well, and no run may write. One more time is for a computer that is so busy that an open port seems
 * filtered: then a script rightly wants to look again.
 */
const untilWell = async (commands: readonly string[], isWell: (run: Ended) => boolean): Promise<void> => {
  let left = commands
  for (let round = 1; left.length > 0 && round <= 3; round++) {
    const runs = await all(left)
    for (const run of runs) expect([run.command, mutationsIn(run.requests)]).toEqual([run.command, []])
    left = runs.filter(run => !isWell(run)).map(run => run.command)
    if (round === 3 && left.length > 0) throw new Error(runs.map(run => `${run.command} → ${run.code}\n${run.output}`).join('\n'))
  }
}

describe('a second run', () => {
  test('of every script changes nothing in any world', async () => {
    const before = truthOf(place.sandbox)
    await untilWell(MUTATING, run => run.code === 0 && run.stdout.includes('Nothing had to be done.'))
    expect(truthOf(place.sandbox)).toBe(before)
  }, 60_000)

  test('with --plan finds nothing to do, and no file is another one afterwards', async () => {
    const files = filesBelow(place.cwd)
    await untilWell(PLANS, run => run.code === (run.command.includes('destroy') ? 2 : 0))
    expect(filesBelow(place.cwd)).toEqual(files)
  }, 60_000)

  test.each(['setup --yes', 'provision apply --yes', 'destroy --yes', 'destroy --yes --confirm example'])(
    'with another project’s token is refused, because DNS knows better: %s',
    async command => {
      const token = 'a-token-of-another-project-000000000000000000000000000000000000'
      place.sandbox.controls.hetzner.addToken(token, { project: 'other', access: 'read_write' })
      const run = await place.run(command, { env: { HCLOUD_TOKEN: token } })
      expect([run.code, mutationsIn(run.requests)]).toEqual([3, []])
      // To destroy, every kind of thing is looked at.
      expect(run.requests.length).toBeLessThanOrEqual(10)
      expect(run.stderr.replaceAll(/\s+/g, ' ')).toContain('it seems to be the token of another project')
      expect(place.sandbox.controls.hetzner.dump('other').servers).toEqual([])
    },
    30_000,
  )
})

describe('what only looks', () => {
  test('status, doctor and cost find all well, in so many words, and write nothing', async () => {
    const [status, doctor, cost] = await all(['status', 'doctor', 'cost'])
    for (const run of [status, doctor, cost])
      expect([run?.command, run?.code, mutationsIn(run?.requests ?? [])]).toEqual([run?.command, 0, []])
    expect(status?.stdout).toContain('✓ visitors reach https://admin.example.com and nothing else')
    expect(doctor?.stdout).toContain('✓ exposure: only what the estate allows')
    expect(cost?.stdout).toMatch(/total +EUR +0\.0184 +11\.50 +13\.69/)
  }, 60_000)

  test('no line that a person sees is wider than 80 columns, unless it is one address or command', () => {
    for (const run of place.history.filter(each => !each.command.includes('--json')))
      for (const line of run.output.split('\n'))
        expect([
          run.command,
          line.length <= 80 || line.trim().split(/\s+/).length <= 2 || / {2}ssh /.test(line) ? '' : line,
        ]).toEqual([run.command, ''])
  })
})

describe('an administrator whose address has changed', () => {
  test('is let in to the panels, the old address no more, and SSH is never touched', async () => {
    expect([reaches(OPERATOR.ipv4, 3000), reaches(HOME, 3000)]).toEqual([false, false])
    expect((await place.run('firewall allow-me --yes')).code).toBe(0)
    expect([reaches(OPERATOR.ipv4, 3000), reaches(HOME, 3000)]).toEqual([true, false])
    const run = await place.run('firewall allow-me --yes', { env: elsewhere.env })
    expect([run.code, run.stderr]).toEqual([0, ''])
    expect([reaches(OPERATOR.ipv4, 3000), reaches(HOME, 3000), reaches(HOME, 3000, 'dev-dokploy')]).toEqual([false, true, true])
    const admin = place.sandbox.controls.hetzner.dump().firewalls.find(firewall => firewall.name === 'example-admin')
    const touched = run.requests.filter(request => request.path.includes('set_rules')).map(request => request.path)
    expect(touched).toEqual([`/firewalls/${admin?.id}/actions/set_rules`])
  }, 60_000)

  test('runs it again for nothing', async () => {
    const run = await place.run('firewall allow-me --yes', { env: elsewhere.env })
    expect([run.code, mutationsIn(run.requests)]).toEqual([0, []])
  }, 60_000)

  test('does not shut out a colleague', async () => {
    const run = await place.run('firewall allow-me --yes', { env: { USER: 'alice' } })
    expect(run.code).toBe(0)
    expect([reaches(OPERATOR.ipv4, 3000), reaches(HOME, 3000)]).toEqual([true, true])
  }, 60_000)
})

describe('destroy', () => {
  test('--yes alone is refused, with the command that would do it', async () => {
    for (const [command, hint] of [
      ['destroy --yes', 'bun scripts/destroy.ts --yes --confirm example'],
      ['provision destroy --yes', 'bun scripts/provision.ts destroy --yes --confirm example'],
      ['destroy --yes --confirm exampel', 'bun scripts/destroy.ts --yes --confirm example'],
    ] as const) {
      const run = await place.run(command)
      expect([command, run.code, mutationsIn(run.requests)]).toEqual([command, 3, []])
      expect(run.stderr.replaceAll(/\s+/g, ' ')).toContain(`→ If that is what you want: ${hint} `)
    }
  }, 60_000)

  test('is refused while a stranger’s record points at an address that would be somebody else’s', async () => {
    const address = first.summary().outputs.prod_ip
    place.sandbox.controls.cloudflare.addRecord('example.com', {
      type: 'A',
      name: 'shop.example.com',
      content: address,
      ttl: 300,
    })
    const before = truthOf(place.sandbox)
    const run = await place.run('destroy --yes --confirm example')
    expect([run.code, mutationsIn(run.requests), truthOf(place.sandbox) === before]).toEqual([3, [], true])
    expect(run.stdout.replaceAll(/\s+/g, ' ')).toContain(`shop.example.com (A ${address}) would be left pointing at an address`)
    const zone = place.sandbox.controls.cloudflare.zones()[0]?.id
    const record = place.sandbox.controls.cloudflare.records('example.com').find(one => one.name === 'shop.example.com')
    await callAs(place.sandbox, 'cloudflare', 'DELETE', `/zones/${zone}/dns_records/${record?.id}`)
  }, 60_000)

  test('is refused for a server that the vendor protects', async () => {
    const id = place.sandbox.controls.hetzner.dump().servers.find(server => server.name === 'prod-dokploy')?.id
    const protect = (on: boolean) =>
      callAs(place.sandbox, 'hetzner', 'POST', `/servers/${id}/actions/change_protection`, { delete: on, rebuild: on })
    await protect(true)
    await Bun.sleep(50)
    const run = await place.run('destroy --yes --confirm example')
    expect([run.code, mutationsIn(run.requests)]).toEqual([3, []])
    expect(run.stdout).toContain('prod-dokploy is protected against deletion at the vendor.')
    await protect(false)
    await Bun.sleep(50)
  }, 60_000)

  test('leaves nothing of ours, and every stranger as it was', async () => {
    const run = await place.run('destroy --yes --confirm example --json')
    expect([run.code, run.errors()]).toEqual([0, []])
    expect(run.summary().applied).toBe(run.summary().changes)
    expect(oursIn(place)).toEqual([])
    expect(lockIn(place.sandbox)).toBeUndefined()
    expect(strangersIn(place)).toBe(strangers)
  }, 60_000)

  test('a second time writes nothing', async () => {
    const run = await place.run('destroy --yes --confirm example')
    expect([run.code, mutationsIn(run.requests)]).toEqual([0, []])
  }, 60_000)
})

describe('over the whole life', () => {
  test('at no instant does a stranger reach more than 22, 80 and 443, nor anybody an ownerless panel', () => {
    expect(watch.looks).toBeGreaterThan(100)
    expect(watch.violations).toEqual([])
    expect(place.sandbox.instants().length).toBeGreaterThan(4)
    expect(exposedInstants(place.sandbox, OURS)).toEqual([])
  })

  test('no secret is in any output or file but the key’s own', () => {
    const secrets = secretsOf(place)
    expect(secrets.length).toBeGreaterThanOrEqual(2 + 2 + 2 + 4)
    const privateKey = readFileSync(join(place.cwd, '.landfall/example/id_ed25519'), 'utf8').split('\n')[2] ?? ''
    const texts = [
      ...place.history.map(run => [run.command, run.output] as const),
      ...Object.entries(filesBelow(place.cwd))
        .filter(([name, what]) => what.includes(' ') && !name.endsWith('id_ed25519'))
        .map(([name]) => [name, readFileSync(join(place.cwd, name), 'utf8')] as const),
    ]
    expect(texts.some(([name]) => name.endsWith('journal.ndjson'))).toBe(true)
    for (const [where, text] of texts)
      for (const secret of [...secrets, privateKey])
        for (const form of [secret, Buffer.from(secret).toString('base64').replace(/=+$/, ''), encodeURIComponent(secret)])
          expect([where, text.includes(form)]).toEqual([where, false])
  })
})

/** Tokens, and what was made on the way: passwords and API keys of the panels, host keys that travelled in cloud-init. */
const secretsOf = ({ sandbox }: Place): readonly string[] => {
  const fieldOf = (text: string, field: string): readonly string[] => {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && field in value ? [String(Reflect.get(value, field))] : []
  }
  return [
    ...Object.values(SANDBOX_TOKENS),
    ...sandbox.requests().flatMap(({ path, body, responseBody }) => {
      if (path === '/api/auth/sign-up/email') return fieldOf(body, 'password')
      if (path === '/api/user.createApiKey') return fieldOf(responseBody, 'key')
      if (path === '/servers' && body.includes('OPENSSH')) return [body.match(/b3BlbnNzaC1rZXk[\w+/=]{40,}/)?.[0] ?? '']
      return []
    }),
  ].filter(secret => secret.length > 8)
}
