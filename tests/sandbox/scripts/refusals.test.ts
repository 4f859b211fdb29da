/** What is wrong is found before the first write, named in words, with what to do; by whole scripts, against a world that would notice. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { SANDBOX_TOKENS } from '../../../lib/sandbox/sandbox.ts'
import {
  callAs,
  closePlaces,
  type Ended,
  mutationsIn,
  ONE_SERVER,
  openPlace,
  type Place,
  type RunOptions,
  TWO_SERVERS,
  truthOf,
} from './run.ts'

interface Case {
  readonly name: string
  readonly command?: string
  readonly config?: unknown
  readonly options?: RunOptions
  readonly seed?: { readonly zones?: readonly string[]; readonly goldenImage?: boolean }
  readonly arrange?: (place: Place) => unknown
  readonly code: number
  /** Parts of what is said, line breaks aside. */
  readonly says: readonly string[]
}

const OTHER_ZONE_TOKEN = 'a-token-for-another-zone-0000000000000000'
const EXPIRED_TOKEN = 'a-token-that-has-expired-0000000000000000'

const withEnv = (name: string, value: string | undefined): RunOptions => ({ env: { [name]: value } })

const TOKENS: readonly Case[] = [
  {
    name: 'no Hetzner token',
    options: withEnv('HCLOUD_TOKEN', undefined),
    code: 1,
    says: ['HCLOUD_TOKEN is not set.', 'Security → API tokens, with Read & Write', 'export HCLOUD_TOKEN='],
  },
  {
    name: 'a wrong Hetzner token',
    options: withEnv('HCLOUD_TOKEN', 'x'.repeat(64)),
    code: 1,
    says: ['Hetzner does not accept the token HCLOUD_TOKEN.', 'permission "Read & Write", and set HCLOUD_TOKEN to it'],
  },
  {
    name: 'a Hetzner token that may only read',
    options: withEnv('HCLOUD_TOKEN', SANDBOX_TOKENS.hetznerReadOnly),
    code: 1,
    says: ['HCLOUD_TOKEN may only read, so nothing was changed.', 'permission "Read & Write"'],
  },
  {
    name: 'no Cloudflare token',
    options: withEnv('CLOUDFLARE_API_TOKEN', undefined),
    code: 1,
    says: ['CLOUDFLARE_API_TOKEN is not set.', 'Zone → DNS → Edit', 'export CLOUDFLARE_API_TOKEN='],
  },
  {
    name: 'a wrong Cloudflare token',
    options: withEnv('CLOUDFLARE_API_TOKEN', 'y'.repeat(40)),
    code: 1,
    says: ['Cloudflare does not accept the API token', 'put it into CLOUDFLARE_API_TOKEN'],
  },
  {
    name: 'something that is no Cloudflare token',
    options: withEnv('CLOUDFLARE_API_TOKEN', 'short'),
    code: 1,
    says: ['Cloudflare does not accept the API token'],
  },
  {
    name: 'a Cloudflare token that has expired',
    options: withEnv('CLOUDFLARE_API_TOKEN', EXPIRED_TOKEN),
    arrange: ({ sandbox }) => sandbox.controls.cloudflare.addToken({ value: EXPIRED_TOKEN, status: 'expired' }),
    code: 1,
    says: ['Cloudflare does not accept the API token'],
  },
  {
    name: 'a Cloudflare token without the right to edit',
    options: withEnv('CLOUDFLARE_API_TOKEN', SANDBOX_TOKENS.cloudflareReadOnly),
    code: 1,
    says: ['The Cloudflare token needs Zone → DNS → Edit on zone example.com'],
  },
  {
    name: 'a Cloudflare token for another zone',
    options: withEnv('CLOUDFLARE_API_TOKEN', OTHER_ZONE_TOKEN),
    arrange: ({ sandbox }) =>
      sandbox.controls.cloudflare.addToken({ value: OTHER_ZONE_TOKEN, rights: { 'example.org': 'edit' } }),
    code: 3,
    says: ['The Cloudflare token sees no zone for example.com.', 'Zone → DNS → Edit on exactly this zone'],
  },
  {
    name: 'no Hetzner token, for servers alone',
    command: 'provision apply --yes',
    options: withEnv('HCLOUD_TOKEN', undefined),
    code: 1,
    says: ['HCLOUD_TOKEN is not set.'],
  },
  {
    name: 'a wrong Hetzner token, for servers alone',
    command: 'provision apply --yes',
    options: withEnv('HCLOUD_TOKEN', 'x'.repeat(64)),
    code: 1,
    says: ['Hetzner does not accept the token HCLOUD_TOKEN.'],
  },
  {
    name: 'a Hetzner token that may only read, for servers alone',
    command: 'provision apply --yes',
    options: withEnv('HCLOUD_TOKEN', SANDBOX_TOKENS.hetznerReadOnly),
    code: 1,
    says: ['HCLOUD_TOKEN may only read, so nothing was changed.'],
  },
]

const DESTROY: readonly Case[] = [
  {
    name: 'a wrong Hetzner token, for taking everything away',
    command: 'destroy --yes --confirm example',
    options: withEnv('HCLOUD_TOKEN', 'x'.repeat(64)),
    code: 1,
    says: ['Hetzner does not accept the token HCLOUD_TOKEN.'],
  },
  {
    name: 'a wrong Cloudflare token, for taking everything away',
    command: 'destroy --yes --confirm example',
    options: withEnv('CLOUDFLARE_API_TOKEN', 'y'.repeat(40)),
    code: 1,
    says: ['Cloudflare does not accept the API token'],
  },
]

const server = (type: unknown, location: unknown = 'nbg1') => ({
  ...ONE_SERVER,
  hetzner: { location, server_types: { prod: type } },
})

const WORLDS: readonly Case[] = [
  {
    name: 'a zone that is not at Cloudflare',
    seed: { zones: [] },
    code: 3,
    says: ['The Cloudflare token sees no zone for example.com.', 'Add the domain at Cloudflare'],
  },
  {
    name: 'a zone that is pending',
    arrange: ({ sandbox }) => sandbox.controls.cloudflare.setZone('example.com', { status: 'pending' }),
    code: 3,
    says: ['Zone example.com is not authoritative: the registrar does not point to Cloudflare yet.', 'Set the nameservers ns1.'],
  },
  {
    name: 'a zone that has gone elsewhere',
    arrange: ({ sandbox }) => sandbox.controls.cloudflare.setZone('example.com', { status: 'moved' }),
    code: 3,
    says: ['Zone example.com is not authoritative: Cloudflare reports it as moved.', 'Set the nameservers ns1.'],
  },
  {
    name: 'somebody else’s alias on our name',
    arrange: ({ sandbox }) =>
      sandbox.controls.cloudflare.addRecord('example.com', {
        type: 'CNAME',
        name: 'admin.example.com',
        content: 'elsewhere.example.net',
        ttl: 300,
      }),
    code: 3,
    says: ['admin.example.com already has CNAME elsewhere.example.net, TTL 300 s, which Landfall did not make.'],
  },
  {
    name: 'somebody else’s record on our name',
    arrange: ({ sandbox }) =>
      sandbox.controls.cloudflare.addRecord('example.com', {
        type: 'A',
        name: 'admin.example.com',
        content: '192.0.2.1',
        ttl: 300,
      }),
    code: 3,
    says: ['admin.example.com already has A 192.0.2.1, TTL 300 s, which Landfall did not make.', '--take-over admin.example.com'],
  },
  {
    name: 'a take-over that nobody confirmed',
    command: 'setup --yes --take-over admin.example.com',
    arrange: ({ sandbox }) =>
      sandbox.controls.cloudflare.addRecord('example.com', {
        type: 'A',
        name: 'admin.example.com',
        content: '192.0.2.1',
        ttl: 300,
      }),
    code: 3,
    says: ['… DESTROY', 'This destroys: point admin.example.com at prod-dokploy', '--yes --confirm example'],
  },
  {
    name: 'somebody else’s server with our name',
    arrange: ({ sandbox }) =>
      callAs(sandbox, 'hetzner', 'POST', '/servers', {
        name: 'prod-dokploy',
        server_type: 'cx23',
        location: 'nbg1',
        image: 'debian-12',
      }),
    code: 3,
    says: [
      'A server called prod-dokploy exists in this project and does not belong to this estate.',
      'Landfall never adopts a stranger',
    ],
  },
  {
    name: 'somebody else’s firewall with our name',
    arrange: ({ sandbox }) =>
      callAs(sandbox, 'hetzner', 'POST', '/firewalls', { name: 'example-dokploy', labels: { 'landfall/estate': 'other' } }),
    code: 3,
    says: ['A firewall called example-dokploy exists in this project and does not belong to this estate.'],
  },
  {
    name: 'a server type that is sold out',
    arrange: ({ sandbox }) => sandbox.controls.hetzner.setStock('cx33', 'nbg1', 'sold_out'),
    code: 3,
    says: ['cx33 is sold out in nbg1 now.', 'Can be had now (monthly, net):', 'cx33 in fsn1 at 6.49'],
  },
  {
    name: 'a server type that does not exist',
    config: server('cx34'),
    code: 3,
    says: ['There is no server type "cx34" (did you mean "cx33"?).', 'Can be had now (monthly, net): cx33 in '],
  },
  {
    name: 'a location that does not exist',
    config: server('cx33', 'nbg2'),
    code: 3,
    says: ['cx33 is not sold in nbg2', 'Can be had now'],
  },
  {
    name: 'no golden image',
    seed: { goldenImage: false },
    code: 3,
    says: ['There is no golden image in this project', 'set hetzner.image to "debian-12"'],
  },
  {
    name: 'a plan that costs more than its cap',
    config: { ...ONE_SERVER, cost: { monthly_cap: 5 } },
    code: 3,
    says: ['the estate costs 6.99 a month net; config.json caps it at 5.00.', 'Raise cost.monthly_cap in config.json'],
  },
  {
    name: 'a config file that would send the token to another host',
    config: { ...TWO_SERVERS, cloudflare: { api_base_url: 'https://api.cloudflare.example/client/v4' } },
    options: withEnv('CLOUDFLARE_BASE_URL', undefined),
    code: 3,
    says: ['config.json would send the Cloudflare token to api.cloudflare.example.', 'export CLOUDFLARE_BASE_URL='],
  },
]

const MANY_MISTAKES = `{
  "project": "Next Node",
  "hetzner": { "locaton": "nbg1", "server_types": { "dev": "cx23", "prod": 33 } },
  "dns": { "domain": "example", "admin_subdomain": "admin", "staging_admin_subdomain": "staging" },
  "firewall": { "admin_addresses": ["300.1.1.1"] },
  "hcloud_token": "x",
  "dokploy": { "version": "0.1" }
}`

const USAGE: readonly Case[] = [
  {
    name: 'every mistake of a config file at once',
    config: MANY_MISTAKES,
    code: 64,
    says: [
      'project: must be a name of at most 30 lower-case letters',
      'hetzner.locaton: unknown key; did you mean "location"?',
      'hetzner.server_types.prod: must be a server type like "cx23"',
      'dns.domain:',
      'dns.staging_admin_subdomain: names a role that no Dokploy server has',
      'firewall.admin_addresses[0]: must be an IP address or a range',
      'hcloud_token: unknown key: secrets never stand in this file',
      'dokploy.version: must be a version like "0.30.2"',
    ],
  },
  { name: 'a config file that is not JSON', config: '{ "project": "x", }', code: 64, says: ['config.json', 'line 1:'] },
  {
    name: 'a config file that is not there',
    command: 'setup --yes --config nowhere.json',
    code: 64,
    says: ['There is no nowhere.json here.', 'bun scripts/setup.ts --sandbox --config examples/two-servers.json'],
  },
  {
    name: 'a flag that does not exist',
    command: 'setup --yess',
    code: 64,
    says: ['There is no flag --yess. Did you mean --yes?', 'bun scripts/setup.ts --help'],
  },
  {
    name: 'an action that does not exist',
    command: 'provision aply',
    code: 64,
    says: ['There is no action "aply". Did you mean apply?'],
  },
  {
    name: 'an action that is spelled like no server',
    command: 'dokploy lgin --yes',
    code: 64,
    says: ['The estate has no server "lgin"; did you mean "login"?', 'It has: dev-dokploy, prod-dokploy.'],
  },
  {
    name: 'a server that the estate lacks',
    command: 'dokploy prod-dokpoly --yes',
    code: 64,
    says: ['The estate has no server "prod-dokpoly"; did you mean "prod-dokploy"?'],
  },
  {
    name: 'an app that the estate lacks',
    command: 'app exprot --yes',
    code: 64,
    says: ['The estate has no app "exprot"; did you mean "export"?'],
  },
  {
    name: 'a plan that nobody agreed to, without a terminal',
    command: 'provision apply',
    code: 64,
    says: ['There is no terminal to ask on whether this plan may be carried out.', 'bun scripts/provision.ts --yes'],
  },
]

const JSON_TOO: ReadonlySet<string> = new Set([
  'no Hetzner token',
  'a Hetzner token that may only read',
  'a zone that is pending',
  'a plan that costs more than its cap',
  'every mistake of a config file at once',
  'a flag that does not exist',
  'a plan that nobody agreed to, without a terminal',
])
const WIDE = [...TOKENS, ...DESTROY, ...WORLDS, ...USAGE]
const ended = new Map<string, { readonly run: Ended; readonly json: Ended | undefined; readonly sameWorld: boolean }>()

const runCase = async ({ name, command = 'setup --yes', config = TWO_SERVERS, options, seed, arrange }: Case): Promise<void> => {
  const place = await openPlace(config, { seed: { zones: ['example.com'], goldenImage: true, ...seed } })
  await arrange?.(place)
  await Bun.sleep(150)
  const before = truthOf(place.sandbox)
  const run = await place.run(command, options)
  // What a program sees differs by the kind of failure alone, so one of each kind is enough.
  const json = JSON_TOO.has(name) ? await place.run(`${command} --json`, options) : undefined
  ended.set(name, { run, json, sameWorld: truthOf(place.sandbox) === before })
}

beforeAll(async () => {
  const left = [...WIDE]
  const work = async () => {
    for (let each = left.shift(); each !== undefined; each = left.shift()) await runCase(each)
  }
  await Promise.all([work(), work(), work()])
}, 90_000)
afterAll(closePlaces)

const endOf = (name: string) => {
  const end = ended.get(name)
  if (!end) throw new Error(`"${name}" did not run`)
  return end
}

const flat = (text: string): string => text.replaceAll(/\s+/g, ' ')

const judge = ({ name, code, says }: Case): void => {
  const { run, json, sameWorld } = endOf(name)
  expect([run.code, sameWorld]).toEqual([code, true])
  for (const part of says) expect(flat(run.output)).toContain(part)
  // Not a stack, not a bug; in JSON the same as an object.
  expect(run.output).not.toMatch(/\n\s+at .*:\d+|bug/i)
  if (json === undefined) return
  expect([json.code, json.stderr]).toEqual([code, ''])
  expect(json.errors().length > 0 || json.summary().ok === false).toBe(true)
  for (const error of json.errors())
    expect(error).toMatchObject({ bug: false, message: expect.any(String), hint: expect.any(String) })
}

describe('a token problem ends a run before the first write, in at most 10 requests', () => {
  test.each(TOKENS.map(each => [each.name, each] as const))('%s', (_, each) => {
    judge(each)
    const { run } = endOf(each.name)
    expect(run.requests.length).toBeLessThanOrEqual(10)
    expect(mutationsIn(run.requests).filter(line => !line.endsWith(' 403'))).toEqual([])
  })
})

describe('a token problem ends destroy before the first write, in one look', () => {
  test.each(DESTROY.map(each => [each.name, each] as const))('%s', (_, each) => {
    judge(each)
    const { requests } = endOf(each.name).run
    expect(mutationsIn(requests)).toEqual([])
    expect(new Set(requests.map(({ vendor, path }) => `${vendor} ${path}`)).size).toBe(requests.length)
  })
})

describe('a world that does not fit is refused before the first write, the lock’s included', () => {
  test.each(WORLDS.map(each => [each.name, each] as const))('%s', (_, each) => {
    judge(each)
    expect(mutationsIn(endOf(each.name).run.requests)).toEqual([])
  })
})

describe('wrong usage ends with 64 and never reaches a vendor’s write', () => {
  test.each(USAGE.map(each => [each.name, each] as const))('%s', (_, each) => {
    judge(each)
    expect(mutationsIn(endOf(each.name).run.requests)).toEqual([])
  })
})

describe('what can be had instead', () => {
  test('a list of types is gone through in its order, and the plan says why', async () => {
    const place = await openPlace(server(['cx33', 'cpx32', 'cx43']))
    place.sandbox.controls.hetzner.setStock('cx33', 'nbg1', 'sold_out')
    const run = await place.run('provision plan')
    expect([run.code, flat(run.stdout)]).toEqual([
      2,
      expect.stringMatching(
        /create server prod-dokploy \((cpx32|cx43), nbg1\).*cx33 is sold out in nbg1 now: \1 in nbg1 instead/,
      ),
    ])
  })

  test('a create that the vendor refuses after all ends with 1, its reason and a journal that knows', async () => {
    const place = await openPlace(ONE_SERVER)
    place.sandbox.controls.hetzner.setStock('cx33', 'nbg1', 'silently_sold_out')
    const run = await place.run('provision apply --yes')
    expect(run.code).toBe(1)
    expect(flat(run.stderr)).toContain('Hetzner has no room for it there at the moment')
    const journal = await Bun.file(`${place.cwd}/.landfall/solo/journal.ndjson`).text()
    expect(journal).toMatch(/"entry":"outcome".*"state":"failed".*"code":"out_of_stock"/)
    expect(place.sandbox.controls.hetzner.dump().servers).toEqual([])
    expect(place.sandbox.controls.hetzner.dump().firewalls.filter(firewall => firewall.name.startsWith('landfall-lock'))).toEqual(
      [],
    )
  }, 20_000)
})

describe('the manual', () => {
  test.each(['setup', 'provision', 'firewall', 'dokploy', 'dns', 'status', 'doctor', 'cost', 'destroy', 'sandbox'])(
    '%s --help ends with 0, fits 80 columns and asks nobody',
    async script => {
      const run = await endOfHelp(script)
      expect([run.code, run.stderr, run.requests]).toEqual([0, '', []])
      expect(run.stdout).toContain(`bun scripts/${script}.ts`)
      for (const line of run.stdout.split('\n')) if (!line.startsWith('  bun ')) expect(line.length).toBeLessThanOrEqual(80)
    },
  )
})

let helpPlace: Promise<Place> | undefined
const endOfHelp = async (script: string): Promise<Ended> => {
  helpPlace ??= openPlace()
  return (await helpPlace).run(`${script} --help`)
}
