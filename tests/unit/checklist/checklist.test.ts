/** The checklist: its items, what is kept of them, and what a page shows of words that come from outside. */

import { afterEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { countItems, ITEMS, PHASES } from '../../../lib/checklist/items.ts'
import { PROBES, type ProbeContext } from '../../../lib/checklist/probes.ts'
import { type Answers, merge, progressOf, readAnswers, toAnswer, writeAnswers } from '../../../lib/checklist/record.ts'
import { renderMarkdown, renderPage, renderText } from '../../../lib/checklist/render.ts'
import { type Served, serveChecklist } from '../../../lib/checklist/serve.ts'
import { LandfallError } from '../../../lib/errors.ts'
import { parseConfig, resolveEstate } from '../../../lib/estate/load.ts'
import type { Outside, Page, PortState } from '../../../lib/providers/ports/outside.ts'
import { Secret } from '../../../lib/secret.ts'
import { NOW } from '../cutover/moves.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

describe('the items', () => {
  test('are the 48 of the document, and three more from its security chapter', () => {
    expect(countItems()).toEqual({ probes: 40, asked: 8, beyond: 3 })
    const counts = PHASES.map(phase => ITEMS.filter(item => item.phase === phase).length)
    expect(counts).toEqual([10, 11, 11, 7, 9, 3])
  })
  test('have ids of their own, and every question says why a person has to answer it', () => {
    expect(new Set(ITEMS.map(item => item.id)).size).toBe(ITEMS.length)
    for (const item of ITEMS) if (item.check.by === 'person') expect(item.check.why.length).toBeGreaterThan(15)
  })
  test('use every probe there is', () => {
    const used = new Set(ITEMS.flatMap(({ check }) => (check.by === 'probe' ? [check.probe as string] : [])))
    expect(Object.keys(PROBES).filter(name => !used.has(name))).toEqual([])
  })
})

const EVIL = '<img src=x onerror=alert(1)>"\'`[x](javascript:1)\u202e\u001b[31m'
const answers: Answers = {
  'pre-frontend-server': toAnswer('yes', 'it runs', 'probe', NOW),
  'post-team': toAnswer('no', EVIL, 'ops@<laptop>', NOW),
}

describe('kept answers', () => {
  test('come back as they were, readable by their owner alone', async () => {
    const parent = mkdtempSync(join(tmpdir(), 'landfall-checklist-'))
    closers.push(() => rmSync(parent, { recursive: true, force: true }))
    const directory = join(parent, 'estate')
    expect(await readAnswers(directory)).toEqual({})
    await writeAnswers(directory, answers)
    expect(await readAnswers(directory)).toEqual(answers)
    expect(statSync(join(directory, 'checklist.json')).mode & 0o777).toBe(0o600)
    writeFileSync(join(directory, 'checklist.json'), '{"answers": [')
    expect(readAnswers(directory)).rejects.toThrow('checklist.json')
  })
  test('a probe that sees nothing does not take a person’s word away, one that sees does', () => {
    const said = toAnswer('yes', 'I looked', 'me', NOW)
    expect(merge(said, toAnswer('unknown', 'no token', 'probe', NOW + 1))).toBe(said)
    const seen = toAnswer('no', 'it is down', 'probe', NOW + 1)
    expect(merge(said, seen)).toBe(seen)
  })
  test('that an item is not needed is a person’s to say, whatever a probe misses', () => {
    const said = toAnswer('not_needed', 'by decision', 'me', NOW)
    const missed = toAnswer('no', 'there is none', 'probe', NOW + 1)
    const seen = toAnswer('yes', 'there is one', 'probe', NOW + 1)
    expect(merge(said, missed)).toBe(said)
    expect(merge(said, seen)).toBe(seen)
    expect(merge(toAnswer('not_needed', 'by decision', 'probe', NOW), missed)).toBe(missed)
  })
  test('control and direction characters never get in', () =>
    expect(answers['post-team']?.evidence).not.toMatch(/[\u0000-\u001f\u202e]/))
  test('progress counts what is settled, what is wrong, what is open', () =>
    expect(progressOf(ITEMS, answers)).toEqual({ settled: 1, failing: 1, open: ITEMS.length - 2 }))
})

describe('shown', () => {
  test('as text and as Markdown, a stranger’s words stay words', () => {
    expect(renderText(ITEMS, answers)).toContain('1 of 51 settled, 1 not as they should be')
    const markdown = renderMarkdown(ITEMS, answers, 'shop', NOW)
    expect(markdown.match(/^- \[[ x]\]/gm)).toHaveLength(ITEMS.length)
    expect(markdown).not.toContain('<img')
    expect(markdown).not.toContain('[x](javascript')
  })
  test('as a page, they are escaped, and nothing is loaded from elsewhere', () => {
    const page = renderPage(ITEMS, answers, { estate: 'shop', token: 't', nonce: 'n' })
    expect(page).not.toContain('<img')
    expect(page).toContain('&lt;img src=x onerror=alert(1)&gt;&quot;&#39;')
    expect(page.match(/(src|href)=["']?(https?:)?\/\//g)).toBeNull()
  })
})

describe('served', () => {
  const open = (): Served & { readonly saved: [string, unknown][] } => {
    const saved: [string, unknown][] = []
    const served = serveChecklist({
      port: 0,
      estate: 'shop',
      items: ITEMS,
      who: 'me',
      nowMs: () => NOW,
      answers: () => answers,
      save: async (id, answer) => void saved.push([id, answer]),
    })
    closers.push(served.close)
    return { ...served, saved }
  }
  const post = (url: string, token: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(new URL('answer', url), { method: 'POST', headers: { 'x-landfall': token, ...headers }, body: JSON.stringify(body) })
  const tokenOf = async (url: string) => /data-token="([^"]+)"/.exec(await (await fetch(url)).text())?.[1] ?? ''

  test('the page may run its own script and nothing else', async () => {
    const response = await fetch(open().url)
    const policy = response.headers.get('content-security-policy') ?? ''
    const nonce = /script-src 'nonce-([^']+)'/.exec(policy)?.[1]
    expect(policy).toContain("default-src 'none'")
    expect(await response.text()).toContain(`<script nonce="${nonce}">`)
  })
  test('an answer from the page is kept', async () => {
    const { url, saved } = open()
    expect((await post(url, await tokenOf(url), { id: 'post-team', state: 'yes', evidence: 'told' })).status).toBe(204)
    expect(saved).toEqual([['post-team', { state: 'yes', evidence: 'told', by: 'me', atMs: NOW }]])
  })
  test('without the page’s token, under another name, or about nothing, it is not', async () => {
    const { url, saved } = open()
    const good = { id: 'post-team', state: 'yes', evidence: 'x' }
    expect((await post(url, 'wrong', good)).status).toBe(403)
    expect((await post(url, await tokenOf(url), good, { host: 'evil.example' })).status).toBe(421)
    expect((await post(url, await tokenOf(url), { ...good, id: 'nope' })).status).toBe(400)
    expect((await post(url, await tokenOf(url), { ...good, state: 'maybe' })).status).toBe(400)
    expect(saved).toEqual([])
  })
})

describe('the isolation probes', () => {
  const config = {
    hetzner: { location: 'nbg1', server_types: { frontend: 'cx23', backend: 'cx33' } },
    dns: { domain: 'example.com' },
    migration: {
      names: { 'example.com': { server: 'frontend-dokploy' }, 'api.example.com': { server: 'backend-dokploy', path: '/v1' } },
    },
  }
  const estate = resolveEstate(parseConfig(JSON.stringify(config), 'config.json'), { adminAddresses: [], publicKeys: [] })
  const server = (name: string, ipv4: string) => ({ id: name, name, ipv4, status: 'running', type: 'cx23', location: 'nbg1' })
  const page = (over: Partial<Page>): Page => ({ status: 200, headers: {}, body: '', ...over })

  const firewall = (port: string, ...from: string[]) => ({
    id: port,
    name: port,
    labels: {},
    rules: [{ protocol: 'tcp' as const, port, from, why: '' }],
    serverIds: ['frontend-dokploy', 'backend-dokploy'],
  })
  const WEB = firewall('443', '0.0.0.0/0', '::/0')
  const context = (outside: Partial<Outside>, firewalls: ProbeContext['world']['firewalls'] = [WEB]): ProbeContext => ({
    estate,
    nowMs: NOW,
    // Only what the probes read of a server.
    world: {
      servers: [server('frontend-dokploy', '203.0.113.1'), server('backend-dokploy', '203.0.113.2')] as never,
      firewalls,
      panels: {},
      apps: {},
      hooks: {},
      moves: {},
    },
    outside: outside as Outside,
  })
  const ports = (open: readonly number[]) => ({
    probePort: async (_: string, port: number): Promise<PortState> => (open.includes(port) ? 'open' : 'filtered'),
  })
  const cors = (origin: (asked: string) => string | undefined, credentials = false) => ({
    fetchPage: async (_: string, options?: { headers?: Readonly<Record<string, string>> }) => {
      const allowed = origin(options?.headers?.Origin ?? '')
      return page({
        headers: {
          ...(allowed ? { 'access-control-allow-origin': allowed } : {}),
          ...(credentials ? { 'access-control-allow-credentials': 'true' } : {}),
        },
      })
    },
  })

  test('an open database port is a no that names it', async () => {
    expect(await PROBES['internal ports are closed'](context(ports([22, 80, 443])))).toMatchObject({ state: 'yes' })
    expect(await PROBES['internal ports are closed'](context(ports([5432])))).toEqual({
      state: 'no',
      evidence: 'frontend-dokploy: port 5432 answers',
    })
  })
  test('the panel’s port may answer the administrator, and is a no where the firewall lets everybody in', async () => {
    const mine = firewall('3000', '198.51.100.7/32')
    const everybody = firewall('2000-4000', '::/0')
    const open = ports([22, 80, 443, 3000])
    for (const probe of ['internal ports are closed', 'ports are as wanted'] as const) {
      expect((await PROBES[probe](context(open, [WEB, mine]))).state).toBe('yes')
      expect((await PROBES[probe](context(open, [WEB, everybody]))).state).toBe('no')
      expect((await PROBES[probe](context(open, []))).state).toBe('no')
    }
  })
  test('CORS: the frontend is let in, strangers are not', async () => {
    const own = cors(asked => (asked === 'https://example.com' ? asked : undefined))
    const everybody = cors(asked => asked)
    expect((await PROBES['cors allows the frontend'](context(own))).state).toBe('yes')
    expect((await PROBES['cors refuses strangers'](context(own))).state).toBe('yes')
    expect((await PROBES['cors refuses strangers'](context(everybody))).state).toBe('no')
    expect((await PROBES['cors refuses strangers'](context(cors(() => '*', true)))).state).toBe('no')
    expect((await PROBES['cors refuses strangers'](context(cors(() => '*')))).state).toBe('yes')
    expect((await PROBES['cors allows the frontend'](context(cors(() => undefined)))).state).toBe('no')
  })
  test('a secret in a page is found', async () => {
    const front = {
      ...context({ fetchPage: async () => page({ body: 'env = {"DATABASE_URL": "postgres://…"}' }) }),
      of: 'frontend' as const,
    }
    expect(await PROBES['pages hold no secret'](front)).toEqual({ state: 'no', evidence: 'example.com/ shows DATABASE_URL' })
  })
  test('only served pages are judged for secrets; whatever was not read is unknown', async () => {
    const look = async (answers: Readonly<Record<string, Partial<Page>>>) => {
      const fetchPage = async (url: string): Promise<Page> => {
        const answer = answers[new URL(url).pathname]
        if (answer) return page(answer)
        throw new LandfallError('timeout', 'It does not answer.')
      }
      const names = estate.migration?.names.map(each => ({ ...each, routes: Object.keys({ '/': 0, ...answers, '/about': 0 }) }))
      const front = { ...context({ fetchPage }), of: 'frontend' as const }
      return PROBES['pages hold no secret']({
        ...front,
        estate: { ...estate, migration: { ...estate.migration, names } } as never,
      })
    }
    expect(await look({ '/': {}, '/about': {} })).toEqual({ state: 'yes', evidence: '2 pages of example.com' })
    expect(await look({ '/': { status: 502 }, '/about': { status: 502 } })).toEqual({
      state: 'unknown',
      evidence: 'not read: example.com/ (answers 502), example.com/about (answers 502)',
    })
    expect((await look({ '/': {}, '/about': { status: 308 } })).state).toBe('unknown')
    expect(await look({ '/': {} })).toEqual({ state: 'unknown', evidence: 'not read: example.com/about (It does not answer)' })
    expect((await look({ '/': { status: 502, body: 'DATABASE_URL=x' } })).state).toBe('no')
  })
  test('frontend and backend on one server is a no', async () => {
    expect((await PROBES['servers are apart'](context({}))).state).toBe('yes')
    const names = estate.migration?.names.map(each => ({ ...each, server: 'backend-dokploy' })) ?? []
    const joined = { ...context({}), estate: { ...estate, migration: { ...estate.migration, names } } } as ProbeContext
    expect(await PROBES['servers are apart'](joined)).toEqual({ state: 'no', evidence: 'backend-dokploy serves both' })
  })
})

describe('the probes of what is left behind and kept', () => {
  const config = {
    hetzner: { location: 'nbg1', server_types: { backend: 'cx33' } },
    dns: { domain: 'example.com' },
    migration: {
      names: {
        'api.example.com': { server: 'backend-dokploy' },
        'rpc.example.com': { server: 'backend-dokploy', kind: 'backend' },
      },
    },
    apps: Object.fromEntries(
      ['api', 'rpc'].map(name => [
        name,
        { source: { github: `acme/${name}` }, build: { dockerfile: 'Dockerfile' }, domains: [{ host: `${name}.example.com` }] },
      ]),
    ),
  }
  const estate = resolveEstate(parseConfig(JSON.stringify(config), 'config.json'), { adminAddresses: [], publicKeys: [] })
  const service = (name: string) => ({
    id: name,
    name,
    kind: 'application',
    source: { kind: 'git' },
    settings: { autoDeploy: true },
  })
  const VIEW = {
    state: 'open',
    services: { api: service('api'), rpc: service('rpc') },
    databases: {},
    volumeBackups: {},
    panelBackups: [],
    neighbours: [],
    notifications: [],
  }
  /** Only what the probes read. */
  const context = (world: object, outside: Partial<Outside> = {}): ProbeContext => ({
    estate,
    nowMs: NOW,
    world: {
      servers: [{ id: '1', name: 'backend-dokploy', ipv4: '203.0.113.2' }],
      firewalls: [],
      panels: {},
      apps: { 'backend-dokploy': VIEW },
      hooks: {},
      moves: {},
      ...world,
    } as never,
    outside: outside as Outside,
  })

  test('an old host that nobody could ask is unknown', async () => {
    const asked: unknown[] = []
    const look = (oldAddresses: readonly string[], status: number) =>
      PROBES['old host serves no more'](
        context(
          { moves: { 'api.example.com': { oldAddresses }, 'rpc.example.com': { oldAddresses } } },
          {
            fetchPage: async (_, options) => {
              asked.push(options?.address)
              return { status, headers: {}, body: '' }
            },
          },
        ),
      )
    expect((await look([], 200)).state).toBe('unknown')
    expect((await look(['2001:db8::1'], 200)).state).toBe('unknown')
    expect(asked).toEqual([])
    expect((await look(['198.51.100.7'], 200)).state).toBe('no')
    expect((await look(['198.51.100.7'], 410)).state).toBe('yes')
  })

  test('a backup counts when it is switched on and holds a database or a volume', async () => {
    const look = async (over: object) =>
      (await PROBES['backups are configured'](context({ apps: { 'backend-dokploy': { ...VIEW, ...over } } }))).state
    expect(await look({})).toBe('no')
    expect(await look({ panelBackups: [{ enabled: true }] })).toBe('no')
    expect(await look({ databases: { main: { backups: [{ enabled: false }] } } })).toBe('no')
    expect(await look({ volumeBackups: { api: [{ enabled: false }] } })).toBe('no')
    expect(await look({ databases: { main: { backups: [{ enabled: true }] } } })).toBe('yes')
    expect(await look({ volumeBackups: { api: [{ enabled: true }] } })).toBe('yes')
  })

  test('each app is deployed by the webhook of its own repository', async () => {
    const hook = (url: string, active = true) => ({ url: new Secret('hook', url), active })
    const ours = (app: string, active = true) =>
      hook(`https://dokploy.example.com/api/deploy/token?landfall=${estate.name}.${app}`, active)
    const seen = (...hooks: readonly unknown[]) => ({ state: 'seen', hooks })
    const look = (hooks: object) => PROBES['app is deployed by pushes'](context({ hooks }))
    expect((await look({ 'acme/api': seen(ours('api')), 'acme/rpc': seen(ours('rpc')) })).state).toBe('yes')
    expect(await look({ 'acme/api': seen(hook('https://hooks.slack.example/x')), 'acme/rpc': seen(ours('rpc')) })).toEqual({
      state: 'no',
      evidence: 'no webhook of acme/api deploys api',
    })
    expect((await look({ 'acme/api': seen(ours('api')), 'acme/rpc': seen() })).state).toBe('no')
    expect((await look({ 'acme/api': seen(ours('api')), 'acme/rpc': seen(ours('api')) })).state).toBe('no')
    expect((await look({ 'acme/api': seen(ours('api', false)), 'acme/rpc': seen(ours('rpc')) })).state).toBe('no')
    expect((await look({ 'acme/api': seen(ours('api')), 'acme/rpc': { state: 'unseen', why: 'no token' } })).state).toBe(
      'unknown',
    )
    expect((await look({ 'acme/api': seen(ours('api')) })).state).toBe('unknown')
  })
})
