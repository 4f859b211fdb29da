/** Whole scripts against the stand-in world: apply twice, deploys that fail in every way while visitors are served, rollback, export, import. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMeter } from '../../../lib/engine/meter.ts'
import { createOutside } from '../../../lib/providers/outside/outside.ts'
import { closePlaces, FAST, openPlace, type Place } from '../scripts/run.ts'

/** A machine that is busy with something else may take long; what hangs is told by each script's own deadline. */
const LIMIT_MS = 600_000
const SECRETS = {
  FLUSH_URL: 'https://site.example.com/flush?key=flush-secret-of-the-test',
  DISCORD_URL: 'https://discord.example.com/hook-secret-1',
  S3_KEY: 'AKIAEXAMPLE',
  S3_SECRET: 's3-secret-of-the-test',
}
const CANARY = 'canary-api-key-of-the-test'
const HTTP = { https: false }

const config = (image = 'ghcr.io/acme/web:1', more: object = {}) => ({
  hetzner: { location: 'nbg1', server_types: { prod: 'cx33' } },
  dns: { domain: 'example.com' },
  apps: {
    web: {
      source: { image },
      env_file: '.env.web',
      domains: [{ host: 'www.example.com', ...HTTP }],
      health: { path: '/', interval_s: 1, start_s: 1 },
      version: { header: 'x-version' },
      ...more,
    },
    site: {
      source: { github: 'acme/site', watch: ['site/**'] },
      build: { dockerfile: 'site/Dockerfile', context: '/' },
      domains: [{ host: 'site.example.com', ...HTTP }],
      version: { path: '/version' },
      post_deploy: { action: 'flush', url_env: 'FLUSH_URL' },
    },
    stack: {
      compose: { file: 'compose.yml' },
      domains: [{ host: 'stack.example.com', service: 'web', port: 8080, ...HTTP }],
      version: { header: 'x-version' },
      post_deploy: { action: 'selective', service: 'cache', pattern: 'user:*' },
    },
  },
  databases: { main: {} },
  buckets: { s3: { endpoint: 'https://s3.example.net', bucket: 'acme', access_key_env: 'S3_KEY', secret_key_env: 'S3_SECRET' } },
  backups: {
    db: { database: 'main' },
    panel: { panel: 'prod' },
    uploads: { app: 'stack', volume: 'uploads', service: 'cache', stop: true },
  },
  notifications: { ops: { kind: 'discord', url_env: 'DISCORD_URL' } },
})

const COMPOSE =
  'services:\n  web:\n    image: nginx:1.27\n  cache:\n    image: redis:8\n    volumes: [uploads:/data]\nvolumes:\n  uploads: {}\n'

let place: Place
const run = (command: string) => place.run(command, { env: SECRETS, timeoutMs: 240_000 })
const apps = () => place.sandbox.controls.machines.dokploy('prod-dokploy').apps
const writes = (requests: Place['history'][number]['requests']) =>
  requests.filter(request => request.method !== 'GET').map(({ method, path }) => `${method} ${path}`)

beforeAll(async () => {
  place = await openPlace(config(), { seed: { zones: ['example.com'], goldenImage: true }, settings: FAST })
  writeFileSync(join(place.cwd, '.env.web'), `NODE_ENV=production\nAPI_KEY=${CANARY}\nMULTI="a\nb"\n`)
  writeFileSync(join(place.cwd, 'compose.yml'), COMPOSE)
  const setup = await run('setup --yes --json')
  expect({ code: setup.code, errors: setup.errors() }).toEqual({ code: 0, errors: [] })
  apps().setTiming({ queueMs: 10, buildMs: 60, startMs: 80 })
}, LIMIT_MS)
afterAll(closePlaces)

/** How many a machine that also runs everything else can always serve; real containers are visited faster (tests/machines/apps). */
const VISITS_PER_SECOND = 20

/** Visitors over the internet, at a steady rate, until told to stop. */
const visit = (host: string) => {
  const internet = URL.parse(place.sandbox.environment.LANDFALL_INTERNET ?? '')
  const outside = createOutside({
    route: { kind: 'proxy', host: internet?.hostname ?? '', port: Number(internet?.port) },
    context: { meter: createMeter(), signal: new AbortController().signal },
  })
  const address = place.sandbox.controls.hetzner.serversForMachines().find(server => server.name === 'prod-dokploy')?.ipv4 ?? ''
  const failures: string[] = []
  const versions = new Set<string>()
  const under: Promise<void>[] = []
  const ask = async () => {
    try {
      const page = await outside.fetchPage(`http://${host}/`, { address, timeoutMs: 60_000 })
      if (page.status !== 200) failures.push(`status ${page.status}`)
      versions.add(page.headers['x-version'] ?? '')
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error))
    }
  }
  const beganMs = performance.now()
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - beganMs) / 1000) * VISITS_PER_SECOND)
    while (under.length < due) under.push(ask())
  }, 20)
  return async () => {
    clearInterval(timer)
    await Promise.all(under)
    return { requests: under.length, failures, versions }
  }
}

describe('app.ts', () => {
  test(
    'sets everything up; the second run writes nothing, and no secret is ever said',
    async () => {
      const first = await run('app --yes --json')
      expect({ code: first.code, errors: first.errors() }).toEqual({ code: 0, errors: [] })
      const again = await run('app --yes --json')
      expect({ code: again.code, writes: writes(again.requests), changes: again.summary().changes }).toEqual({
        code: 0,
        writes: [],
        changes: 0,
      })
      for (const ended of [first, again])
        for (const secret of [CANARY, ...Object.values(SECRETS)]) expect(ended.output).not.toContain(secret)
      const [hook, ...more] = place.sandbox.controls.github.hooks('acme/site')
      expect([more.length, hook?.active, hook?.contentType, hook?.insecureSsl, (hook?.secret ?? '').length]).toEqual([
        0,
        true,
        'json',
        '0',
        64,
      ])
      expect(hook?.url).toMatch(/^https:\/\/admin\.example\.com\/api\/deploy\/[A-Za-z0-9_-]+\?landfall=example\.site$/)
    },
    LIMIT_MS,
  )

  test(
    'what was changed in the panel is shown field by field, variables by name, and put back',
    async () => {
      apps().edit('web', { dockerImage: 'ghcr.io/acme/web:evil', replicas: 3, env: `NODE_ENV=test\nEXTRA=${CANARY}2\n` })
      const plan = await run('app web --plan --json')
      expect(plan.code).toBe(2)
      const text = JSON.stringify(plan.lines())
      for (const line of [
        'source image: ghcr.io/acme/web:evil → ghcr.io/acme/web:1',
        'replicas: 3 → 1',
        '~ NODE_ENV',
        '+ API_KEY',
        '- EXTRA',
      ])
        expect(text).toContain(line)
      expect(plan.output).not.toContain(CANARY)
      expect(writes(plan.requests)).toEqual([])
      apps().toggleDomain('www.example.com')
      expect(JSON.stringify((await run('app web --plan --json')).lines())).toContain('www.example.com: enabled: false → true')
      expect((await run('app web --yes --json')).code).toBe(0)
      expect((await run('app --plan --json')).code).toBe(0)
    },
    LIMIT_MS,
  )

  test(
    'two apps of one name are refused, not guessed',
    async () => {
      const before = place.sandbox.requests().length
      const twin = await openPlace({
        ...config(),
        apps: { web: { source: { image: 'a:1' } } },
        databases: {},
        buckets: {},
        backups: {},
        notifications: {},
      })
      expect((await twin.run('setup --yes --json', { timeoutMs: 240_000 })).code).toBe(0)
      expect((await twin.run('app --yes --json', { timeoutMs: 240_000 })).code).toBe(0)
      const panel = twin.sandbox.controls.machines.dokploy('prod-dokploy').apps
      panel.copy('web')
      const ended = await twin.run('app --yes --json', { timeoutMs: 240_000 })
      expect([ended.code, writes(ended.requests)]).toEqual([3, []])
      expect(ended.output).toContain('which one is meant is not clear')
      expect(place.sandbox.requests().length).toBe(before)
    },
    LIMIT_MS,
  )

  test(
    'an app that somebody else made is refused until its name is given',
    async () => {
      apps().edit('web', { description: 'made by hand' })
      const refused = await run('app web --yes --json')
      expect([refused.code, writes(refused.requests)]).toEqual([3, []])
      expect((await run('app web --yes --json --take-over web')).code).toBe(0)
      expect((await run('app web --plan --json')).code).toBe(0)
    },
    LIMIT_MS,
  )

  test(
    'an app with a new name is refused while the old one answers its names',
    async () => {
      const { web, ...others } = config().apps
      const before = apps().dump()
      place.writeConfig({ ...config(), apps: { shop: web, ...others } })
      const refused = await run('app --yes --json')
      expect([refused.code, writes(refused.requests), apps().dump()]).toEqual([3, [], before])
      expect(refused.output).toContain(
        'www.example.com is answered by web in example/production on prod-dokploy already; shop beside it would get some of its requests.',
      )
      apps().toggleDomain('www.example.com')
      const freed = await run('app --plan --json')
      apps().toggleDomain('www.example.com')
      place.writeConfig(config())
      expect([freed.code, JSON.stringify(freed.lines())]).toEqual([2, expect.stringContaining('create application shop')])
      expect((await run('app --plan --json')).code).toBe(0)
    },
    LIMIT_MS,
  )

  test(
    'export prints the config of what exists, without values',
    async () => {
      const ended = await run('app export --json')
      expect(ended.code).toBe(0)
      const line = ended.lines().find(each => each.export !== undefined)
      expect(line?.export).toMatchObject({
        apps: { web: { source: { image: 'ghcr.io/acme/web:1' }, port: 3000 }, stack: { compose: {} } },
        databases: { main: { kind: 'postgres' } },
      })
      for (const secret of [CANARY, ...Object.values(SECRETS)]) expect(ended.output).not.toContain(secret)
    },
    LIMIT_MS,
  )
})

test(
  'what export prints is a config that asks for no change',
  async () => {
    const ended = await run('app export --json')
    const printed: unknown = ended.lines().find(each => each.export !== undefined)?.export
    const { hetzner, dns } = config()
    place.writeConfig({ hetzner, dns, ...(typeof printed === 'object' ? printed : {}) })
    writeFileSync(join(place.cwd, 'compose.stack.yml'), COMPOSE)
    const env = {
      SITE_POST_DEPLOY_URL: SECRETS.FLUSH_URL,
      OPS_URL: SECRETS.DISCORD_URL,
      S3_ACCESS_KEY: SECRETS.S3_KEY,
      S3_SECRET_KEY: SECRETS.S3_SECRET,
    }
    const plan = await place.run('app --plan --json', { env, timeoutMs: 240_000 })
    place.writeConfig(config())
    expect({ code: plan.code, errors: plan.errors(), plan: plan.lines().filter(each => each.type === 'plan') }).toMatchObject({
      code: 0,
      errors: [],
    })
  },
  LIMIT_MS,
)

describe('deploy.ts tells the truth', () => {
  test(
    'a version is deployed when it runs, stays, and answers at the public address',
    async () => {
      const ended = await run('deploy web --yes --json --stable 0.3')
      expect({ code: ended.code, errors: ended.errors(), outputs: ended.summary().outputs }).toMatchObject({
        code: 0,
        errors: [],
        outputs: { version: '1' },
      })
      const again = await run('deploy web --yes --json --stable 0.3')
      expect({ code: again.code, changes: again.summary().changes, writes: writes(again.requests) }).toEqual({
        code: 0,
        changes: 0,
        writes: [],
      })
      const second = await run('deploy site --yes --json --stable 0.3')
      expect(second.summary().outputs.version).toMatch(/^[0-9a-f]{40}$/)
      // What a push would start does it too: it hangs on Dokploy's own notification.
      expect(
        apps()
          .outgoing()
          .filter(each => each.to === SECRETS.FLUSH_URL && JSON.stringify(each.body).includes('"site"')),
      ).toHaveLength(1)
      const third = await run('deploy stack --yes --json --stable 0.3 --version 7')
      expect({ code: third.code, errors: third.errors() }).toEqual({ code: 0, errors: [] })
      expect(apps().execs().at(-1)).toMatchObject({
        by: 'compose_command',
        service: 'cache',
        command: "redis-cli --scan --pattern 'user:*' | tr '\\n' '\\000' | xargs -0 -r redis-cli UNLINK",
      })
    },
    LIMIT_MS,
  )

  test.each([
    ['2-crash-loop', 'crash', 'exit code 1'],
    ['2-wrong-port', 'port', 'listens on 8080, config.json says 3000'],
    ['2-never-healthy', 'unhealthy', 'health check never succeeded'],
    ['2-wrong-path', 'path', 'answered with 404'],
    ['2-needs-env', 'env', 'DATABASE_URL is missing'],
    ['2-oom', 'memory', 'memory'],
    ['2-no-image', 'image', 'cannot be pulled'],
  ])(
    '%s fails for its reason, with its last lines, while the old version serves every visitor',
    async (tag, cause, says) => {
      place.writeConfig(config(`ghcr.io/acme/web:${tag}`))
      expect((await run('app web --yes --json')).code).toBe(0)
      const stop = visit('www.example.com')
      const ended = await run('deploy web --yes --json --stable 0.3 --timeout 60')
      const load = await stop()
      expect({ code: ended.code, outputs: ended.summary().outputs }).toEqual({
        code: 1,
        outputs: { cause, before: 'kept_serving' },
      })
      const [error] = ended.errors()
      expect(String(error?.message)).toContain(says)
      expect(String(error?.message)).toContain('  | ')
      expect(ended.output).not.toContain(CANARY)
      expect({ failures: load.failures, versions: [...load.versions] }).toEqual({ failures: [], versions: ['1'] })
      expect(load.requests).toBeGreaterThan(10)
    },
    LIMIT_MS,
  )

  test(
    'a good version replaces the old one without a failed request, and rollback brings the old one back the same way',
    async () => {
      place.writeConfig(config('ghcr.io/acme/web:3'))
      expect((await run('app web --yes --json')).code).toBe(0)
      const stop = visit('www.example.com')
      expect((await run('deploy web --yes --json --stable 0.3')).summary().outputs.version).toBe('3')
      const back = await run('rollback web --yes --json --stable 0.3')
      expect({ code: back.code, errors: back.errors(), version: back.summary().outputs.version }).toEqual({
        code: 0,
        errors: [],
        version: '1',
      })
      const load = await stop()
      const again = await run('rollback web --to 1 --yes --json')
      expect({ code: again.code, changes: again.summary().changes, writes: writes(again.requests) }).toEqual({
        code: 0,
        changes: 0,
        writes: [],
      })
      expect(load.failures).toEqual([])
      expect([...load.versions].sort()).toEqual(['1', '3'])
      const list = await run('rollback list web --json')
      expect(JSON.stringify(list.lines())).toContain('by its digest')
    },
    LIMIT_MS,
  )

  test(
    'a stack that fails is gone for a moment, for compose recreates its containers: its last good version is brought back',
    async () => {
      writeFileSync(join(place.cwd, 'compose.yml'), COMPOSE.replace('nginx:1.27', 'nginx:2-crash-loop'))
      expect((await run('app stack --yes --json')).code).toBe(0)
      const ended = await run('deploy stack --yes --json --stable 0.3 --timeout 60 --version 8')
      expect({ code: ended.code, outputs: ended.summary().outputs }).toEqual({
        code: 1,
        outputs: { cause: 'crash', before: 'brought_back' },
      })
      writeFileSync(join(place.cwd, 'compose.yml'), COMPOSE)
      expect((await run('app stack --yes --json')).code).toBe(0)
    },
    LIMIT_MS,
  )

  test(
    'what config.json says and Dokploy does not have yet is not deployed',
    async () => {
      place.writeConfig(config('ghcr.io/acme/web:4'))
      const ended = await run('deploy web --yes --json')
      expect([ended.code, writes(ended.requests)]).toEqual([3, []])
      expect(ended.output).toContain('ghcr.io/acme/web:4')
      place.writeConfig(config())
      expect((await run('app web --yes --json')).code).toBe(0)
    },
    LIMIT_MS,
  )
})

describe('env.ts', () => {
  test(
    'pushes the file, compares by name, and keeps what was',
    async () => {
      const path = join(place.cwd, '.env.web')
      writeFileSync(path, `${readFileSync(path, 'utf8')}ADDED=${CANARY}3\n`)
      const diff = await run('env diff web --json')
      expect([diff.code, JSON.stringify(diff.lines()).includes('+ ADDED')]).toEqual([2, true])
      expect((await run('env push web --yes --json')).code).toBe(0)
      expect((await run('env diff web --json')).code).toBe(0)
      const history = await run('env history web --json')
      expect(JSON.stringify(history.lines())).toContain('+ ADDED')
      for (const ended of [diff, history]) expect(ended.output).not.toContain(CANARY)
    },
    LIMIT_MS,
  )

  test(
    'a pull writes the file where there is none, and nothing where it is there; another one it replaces only when told to',
    async () => {
      const path = join(place.cwd, '.env.web')
      const before = readFileSync(path, 'utf8')
      rmSync(path)
      // What a run that was killed leaves.
      const torn = join(place.cwd, '..env.web.7fe9adf7-a9d0-4f0a-b656-bab30318fb2b.tmp')
      writeFileSync(torn, 'NODE_ENV=produ')
      const pulled = await run('env pull web --json')
      expect({ code: pulled.code, errors: pulled.errors(), mode: statSync(path).mode & 0o777 }).toEqual({
        code: 0,
        errors: [],
        mode: 0o600,
      })
      expect(existsSync(torn)).toBe(false)
      expect((await run('env diff web --json')).code).toBe(0)
      const { ino } = statSync(path)
      expect([(await run('env pull web --json')).code, statSync(path).ino]).toEqual([0, ino])
      writeFileSync(path, 'MINE=1\n')
      expect([(await run('env pull web --json')).code, readFileSync(path, 'utf8')]).toEqual([3, 'MINE=1\n'])
      const planned = await run('env pull web --overwrite --plan --json')
      expect([planned.code, readFileSync(path, 'utf8')]).toEqual([2, 'MINE=1\n'])
      expect(planned.output).toContain('- MINE')
      expect((await run('env pull web --overwrite --json')).code).toBe(0)
      expect((await run('env pull web --overwrite --plan --json')).code).toBe(0)
      expect((await run('env diff web --json')).code).toBe(0)
      expect(pulled.output).not.toContain(CANARY)
      writeFileSync(path, before)
    },
    LIMIT_MS,
  )

  test(
    'a pull does not write outside of the folder of the config',
    async () => {
      const elsewhere = mkdtempSync(join(tmpdir(), 'landfall-elsewhere-'))
      symlinkSync(elsewhere, join(place.cwd, 'link'))
      place.writeConfig(config('ghcr.io/acme/web:1', { env_file: 'link/.env.web' }), 'outside.json')
      const ended = await run('env pull web --json --config outside.json')
      expect([ended.code, ended.output.includes('lies outside of the folder of the config')]).toEqual([64, true])
      expect(readdirSync(elsewhere)).toEqual([])
      rmSync(elsewhere, { recursive: true })
    },
    LIMIT_MS,
  )

  test(
    'an import writes what Vercel gives, lists what it does not, and nothing goes on until that is filled in',
    async () => {
      place.sandbox.controls.vercel.addProject({
        name: 'shop',
        framework: 'sveltekit',
        rootDirectory: null,
        repository: 'acme/shop',
        domains: [{ name: 'shop.example.org' }],
        variables: [
          { key: 'PUBLIC_URL', value: 'https://shop.example.org', type: 'plain', target: ['production', 'preview'] },
          { key: 'STRIPE_KEY', value: `${CANARY}4`, type: 'encrypted', target: ['production'] },
          { key: 'DB_PASSWORD', value: 'never given', type: 'sensitive', target: ['production'] },
          { key: 'ONLY_PREVIEW', value: 'x', type: 'plain', target: ['preview'] },
        ],
      })
      const ended = await run('env import web --project shop --overwrite --json')
      expect(ended.code).toBe(0)
      const path = join(place.cwd, '.env.web')
      expect(statSync(path).mode & 0o777).toBe(0o600)
      const text = readFileSync(path, 'utf8')
      expect(text).toContain(`STRIPE_KEY=${CANARY}4\n`)
      expect(text).not.toContain('ONLY_PREVIEW')
      expect(text).toContain('#FILL-IN DB_PASSWORD=')
      expect(ended.output).toContain('DB_PASSWORD')
      expect(ended.output).not.toContain(CANARY)
      const blocked = await run('app web --yes --json')
      expect([blocked.code, writes(blocked.requests)]).toEqual([64, []])
      expect(blocked.output).toContain('DB_PASSWORD')
      writeFileSync(path, text.replace('#FILL-IN DB_PASSWORD=', 'DB_PASSWORD=filled'))
      expect((await run('app web --yes --json')).code).toBe(0)
    },
    LIMIT_MS,
  )
})

describe('backup.ts', () => {
  test(
    'a drill reads the newest backup and restores it; a damaged one is not called good',
    async () => {
      expect((await run('deploy stack --yes --json --stable 0.3')).code).toBe(0)
      const good = await run('backup drill --now --json')
      expect({ code: good.code, errors: good.errors() }).toEqual({ code: 0, errors: [] })
      expect(good.summary()).toMatchObject({ title: 'All 3 backups are recent and can be restored.', applied: 3 })
      expect(good.summary().outputs.db).toStartWith('restored: ')
      expect(good.summary().outputs.panel).toContain('key')
      expect(good.summary().outputs.uploads).toMatch(/\(stack-[a-z0-9]+_cache\/uploads\/stack-[a-z0-9]+_uploads-\S+\.tar\)$/)
      expect(good.output).not.toContain(SECRETS.S3_SECRET)
      apps().dateBackups('2026-01-31')
      const old = await run('backup drill db --json')
      expect([old.code, old.summary().outputs.db]).toEqual([1, expect.stringContaining('restored, but OVERDUE: ')])
      expect(old.output).toMatch(/has no newer file than \S+2026-01-31T\S+, though its schedule is /)
      apps().damageBackups()
      const bad = await run('backup drill db --json')
      expect([bad.code, bad.summary().outputs.db]).toEqual([1, 'NOT restored'])
      expect(bad.summary()).toMatchObject({ title: '1 of 1 backup did not pass.', applied: 0 })
      expect(bad.output).toContain('damaged')
    },
    LIMIT_MS,
  )
})

describe('a backup that Dokploy calls made', () => {
  const backed = (uploads: object) => ({
    ...config(),
    backups: { uploads: { app: 'stack', volume: 'uploads', ...uploads } },
  })
  afterAll(() => place.writeConfig(config()))

  test(
    'and that saved nothing, for there is no volume of this name, is not called good',
    async () => {
      place.writeConfig(backed({ volume: 'upload' }))
      expect((await run('app --yes --json')).code).toBe(0)
      const ended = await run('backup drill uploads --now --json')
      expect([ended.code, ended.summary().outputs.uploads]).toEqual([1, 'NOT restored'])
      expect(ended.output).toContain('What came back is empty.')
    },
    LIMIT_MS,
  )

  test(
    'and that was never made, for there is no container to stop, is told although an older one lies there',
    async () => {
      place.writeConfig(backed({}))
      expect((await run('app --yes --json')).code).toBe(0)
      expect((await run('backup drill uploads --now --json')).code).toBe(0)
      place.writeConfig(backed({ service: 'cash', stop: true }))
      expect((await run('app --yes --json')).code).toBe(0)
      const none = await run('backup drill uploads --now --json')
      expect([none.code, none.summary().outputs.uploads]).toEqual([1, 'NOT restored'])
      expect(none.output).toContain('Dokploy made no new file for backup uploads')
      place.writeConfig(backed({ service: 'cache', stop: true }))
      expect((await run('app --yes --json')).code).toBe(0)
      expect((await run('backup drill uploads --now --json')).code).toBe(0)
    },
    LIMIT_MS,
  )
})

test('nothing of this is left in the estate’s own directory: no variable, no compose file', () => {
  const journal = join(place.cwd, '.landfall', 'example', 'journal.ndjson')
  expect(existsSync(journal)).toBe(true)
  expect(readFileSync(journal, 'utf8')).not.toContain(CANARY)
})
