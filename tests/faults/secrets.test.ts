/** Unique secrets through everything, with the debug switches on and the APIs broken: not a byte of them where it was not promised. */

import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { chmodSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { systemClock } from '../../lib/engine/clock.ts'
import { createMeter } from '../../lib/engine/meter.ts'
import { createCloudflare } from '../../lib/providers/cloudflare/cloudflare.ts'
import type { ProviderContext } from '../../lib/providers/context.ts'
import { createDokploy } from '../../lib/providers/dokploy/dokploy.ts'
import { createHetzner } from '../../lib/providers/hetzner/hetzner.ts'
import { CHAOS } from '../../lib/sandbox/faults.ts'
import type { FaultEffect } from '../../lib/sandbox/kit.ts'
import { workerToken } from '../../lib/sandbox/machines/swarm-programs.ts'
import { SANDBOX_PROJECT } from '../../lib/sandbox/sandbox.ts'
import { Secret } from '../../lib/secret.ts'
import { run, type Start, start } from './harness/product.ts'
import { openTheatre, type Theatre } from './harness/theatre.ts'
import { installVirtualTime } from './harness/time.ts'
import { createWorlds } from './kill/scenarios.ts'
import { scenarioNamed } from './lock/pauses.ts'
import { type Canary, canariesIn, findInFiles, formsOf, openToOthers, watchProcesses } from './secrets/canaries.ts'

setDefaultTimeout(120_000)

const worlds = createWorlds()
afterAll(() => worlds.remove())

const word = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString('hex')
/** As Hetzner makes them, and one with every character that an encoding changes. */
const HETZNER: Canary = { name: 'Hetzner token', value: `Hz${word()}Canary0Q`.slice(0, 64).padEnd(64, 'Z') }
const CLOUDFLARE: Canary = { name: 'Cloudflare token', value: `cf-${word()}+/="&%\\<>` }
const SETUP = scenarioNamed('setup in the empty world')
const JOIN = scenarioNamed('setup in the worker to come world')
const DESTROY = scenarioNamed('destroy in the full world')

interface Watched {
  readonly findings: readonly string[]
  readonly exitCode: number
  readonly samples: number
}

/** What the product made up itself, read from the world that it gave it to. */
const madeUp = ({ sandbox, cwd }: Theatre): Canary[] => {
  const logins = sandbox.requests().flatMap(({ path, body, responseBody }) => {
    const password = /\/api\/auth\/sign-(?:up|in)\/email$/.test(path) ? /"password":"([^"]+)"/.exec(body)?.[1] : undefined
    const key = path.endsWith('/api/user.createApiKey') ? /"key":"([^"]+)"/.exec(responseBody)?.[1] : undefined
    return [
      ...(password ? [{ name: 'Dokploy password', value: password }] : []),
      ...(key ? [{ name: 'Dokploy API key', value: key }] : []),
    ]
  })
  const own = Bun.file(join(cwd, '.landfall/example/id_ed25519'))
  const lines = own.size > 0 ? readFileSync(join(cwd, '.landfall/example/id_ed25519'), 'utf8').split('\n') : []
  // The fourth line of the body holds the seed; those before it repeat the public half.
  const seed = lines.filter(line => line.length > 30 && !line.startsWith('-----'))[3]
  const tokens = sandbox.controls.hetzner
    .serversForMachines()
    .map(({ id }) => ({ name: 'token for workers', value: workerToken(String(id)) }))
  return [...logins, ...tokens, ...(seed ? [{ name: 'SSH private key', value: seed }] : [])]
}

async function watched(
  theatre: Theatre,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Watched> {
  const { sandbox, cwd } = theatre
  sandbox.controls.hetzner.addToken(HETZNER.value, { project: SANDBOX_PROJECT, access: 'read_write' })
  sandbox.controls.cloudflare.addToken({ value: CLOUDFLARE.value })
  const temporary = join(cwd, 'tmp')
  mkdirSync(temporary, { recursive: true })
  const options: Start = {
    command,
    cwd,
    env: {
      ...sandbox.environment,
      HCLOUD_TOKEN: HETZNER.value,
      CLOUDFLARE_API_TOKEN: CLOUDFLARE.value,
      TMPDIR: temporary,
      DEBUG: '*',
      NODE_DEBUG: 'http,https,http2,net,tls,fs,child_process',
      CLOUDFLARE_LOG: 'debug',
      ...env,
    },
    inside: { DEADLINE_CAP_MS: '2500' },
  }
  const running = start(options)
  const watch = watchProcesses(running.pid, [HETZNER, CLOUDFLARE, ...madeUp(theatre)])
  const ended = await running.ended
  const inProcesses = watch.stop()
  const all = [HETZNER, CLOUDFLARE, ...madeUp(theatre)]
  const promised = /SSH private key in \.landfall\/example\/id_ed25519$/
  return {
    exitCode: ended.exitCode,
    samples: watch.samples(),
    findings: [
      ...canariesIn(ended.stdout, all).map(name => `${name} on stdout`),
      ...canariesIn(ended.stderr, all).map(name => `${name} on stderr`),
      ...findInFiles(cwd, all).filter(line => !promised.test(line)),
      ...inProcesses,
    ],
  }
}

describe('a whole life with unique secrets and every debug switch on', () => {
  test('leaves none of them in output, journal, arguments, temporary files or children, and nothing open to others', async () => {
    const theatre = await openTheatre({ from: await worlds.folder('empty') })
    try {
      for (const words of [
        SETUP.command,
        ['status', '--json', '--config', 'estate.json'],
        ['dokploy', 'login', '--json', '--config', 'estate.json'],
        DESTROY.command,
      ]) {
        const { findings, samples } = await watched(theatre, words)
        expect(findings).toEqual([])
        expect(samples).toBeGreaterThan(5)
      }
      expect(madeUp(theatre).map(({ name }) => name)).toContain('Dokploy API key')
      expect(openToOthers(join(theatre.cwd, '.landfall'))).toEqual([])
    } finally {
      await theatre.close()
    }
  })

  test('leaves no token of a swarm behind when a worker joins', async () => {
    const theatre = await openTheatre({ from: await worlds.folder('worker to come') })
    try {
      expect(await watched(theatre, JOIN.command)).toMatchObject({ exitCode: 0, findings: [] })
      expect(madeUp(theatre).map(({ name }) => name)).toContain('token for workers')
    } finally {
      await theatre.close()
    }
  })

  test('the search itself finds a secret in every form, also when half of it is shown', () => {
    for (const canary of [HETZNER, CLOUDFLARE])
      for (const form of formsOf(canary.value)) expect(canariesIn(`…${form}…`, [canary])).toEqual([canary.name])
    expect(canariesIn(Buffer.from(`xx${CLOUDFLARE.value}`).toString('base64'), [CLOUDFLARE])).toEqual([CLOUDFLARE.name])
  })

  test('directories that were open before are closed', async () => {
    const theatre = await openTheatre({ from: await worlds.folder('full') })
    try {
      const state = join(theatre.cwd, '.landfall/example')
      chmodSync(state, 0o755)
      chmodSync(join(state, 'journal.ndjson'), 0o644)
      const command = ['firewall', 'apply', '--yes', '--json', '--config', 'estate.json']
      const wall = theatre.sandbox.controls.hetzner.dump().firewalls.find(each => each.name === 'example-dokploy')
      await fetch(`${theatre.sandbox.environment.HCLOUD_ENDPOINT}/firewalls/${wall?.id}/actions/set_rules`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${theatre.sandbox.environment.HCLOUD_TOKEN}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({ rules: [] }),
      })
      expect((await run({ command, cwd: theatre.cwd, env: theatre.sandbox.environment })).exitCode).toBe(0)
      expect(openToOthers(state)).toEqual([])
    } finally {
      await theatre.close()
    }
  })

  test('Bun is not let print requests: the run refuses before the first one', async () => {
    const theatre = await openTheatre({ from: await worlds.folder('empty') })
    try {
      const { findings, exitCode } = await watched(theatre, SETUP.command, { BUN_CONFIG_VERBOSE_FETCH: 'curl' })
      expect(exitCode).toBe(3)
      expect(findings).toEqual([])
      expect(theatre.sandbox.requests().filter(each => each.n > 60)).toEqual([])
    } finally {
      await theatre.close()
    }
  })
})

/** An answer that repeats what it was sent, as some gateways and Hetzner's own limit message do. */
const echo = (status: number, spelled: (text: string) => string): FaultEffect => ({
  kind: 'status',
  status,
  json: {
    error: {
      code: 'server_error',
      message: `Limit of requests for token ${spelled(HETZNER.value)} and ${spelled(CLOUDFLARE.value)} reached`,
      details: { token: spelled(HETZNER.value) },
    },
    success: false,
    errors: [{ code: 10_000, message: `bad token ${spelled(CLOUDFLARE.value)} ${spelled(HETZNER.value)}` }],
    message: `Authorization: Bearer ${spelled(HETZNER.value)}`,
  },
})

const ECHOES: readonly FaultEffect[] = [
  echo(400, text => text),
  echo(403, text => Buffer.from(text).toString('base64')),
  echo(422, encodeURIComponent),
  echo(500, text => JSON.stringify(JSON.stringify(text))),
  {
    kind: 'status',
    status: 502,
    text: `<html>${HETZNER.value} ${CLOUDFLARE.value}</html>`,
    headers: { 'content-type': 'text/html' },
  },
]

describe('every API broken in turn', () => {
  for (const vendor of ['hetzner', 'cloudflare'] as const)
    test(`${vendor}: as a process, answers that repeat the tokens are told without them`, async () => {
      for (const effect of ECHOES) {
        const theatre = await openTheatre({ from: await worlds.folder('full') })
        try {
          theatre.sandbox.settings.faults = [{ vendor, effect }]
          const { findings, exitCode } = await watched(theatre, ['dns', '--yes', '--json', '--config', 'estate.json'])
          expect(exitCode).not.toBe(0)
          expect(findings).toEqual([])
        } finally {
          await theatre.close()
        }
      }
    })

  test('error objects hold no secret, however they are printed', async () => {
    const theatre = await openTheatre({ from: await worlds.folder('empty') })
    const time = installVirtualTime()
    try {
      const { sandbox } = theatre
      const context: ProviderContext = {
        clock: systemClock,
        meter: createMeter(),
        signal: new AbortController().signal,
        random: () => 0,
        log: () => undefined,
        beforeWrite: async () => undefined,
      }
      const env = sandbox.environment
      const hetzner = createHetzner({
        token: new Secret('HCLOUD_TOKEN', HETZNER.value),
        context,
        endpoint: env.HCLOUD_ENDPOINT ?? '',
      })
      const cloudflare = createCloudflare({
        token: new Secret('CLOUDFLARE_API_TOKEN', CLOUDFLARE.value),
        context,
        endpoint: env.CLOUDFLARE_BASE_URL ?? '',
      })
      const dokploy = createDokploy({ baseUrl: 'http://127.0.0.1:9', context })
      // Each adapter knows its own secret; what one vendor says of another's is taken out where it is printed.
      const calls: readonly (readonly [Canary, () => Promise<unknown>])[] = [
        [HETZNER, () => hetzner.listServers()],
        [HETZNER, () => hetzner.createFirewall({ name: 'x', rules: [], labels: { a: 'b' } })],
        [HETZNER, () => hetzner.deleteServer('1')],
        [CLOUDFLARE, () => cloudflare.findZone('example.com')],
        [CLOUDFLARE, () => cloudflare.listRecords('0'.repeat(32))],
        [CLOUDFLARE, () => cloudflare.probeWrite('0'.repeat(32))],
        [CLOUDFLARE, () => dokploy.claim({ email: 'a@example.com', password: new Secret('p', CLOUDFLARE.value), keyName: 'k' })],
      ]
      const effects = [...ECHOES, ...CHAOS.hetzner.map(({ effect }) => effect).filter(effect => effect.kind !== 'slow')]
      let failures = 0
      for (const effect of effects) {
        sandbox.settings.faults = [{ effect }]
        for (const [canary, call] of calls) {
          const error: unknown = await call().then(
            () => undefined,
            (reason: unknown) => reason,
          )
          if (error === undefined) continue
          failures += 1
          const text = [
            inspect(error, { depth: 12, showHidden: true, getters: true }),
            Bun.inspect(error, { depth: 12 }),
            JSON.stringify(error),
            JSON.stringify(error, Object.getOwnPropertyNames(error)),
            String(error),
            error instanceof Error ? `${error.stack}` : '',
          ].join('\n')
          expect(canariesIn(text, [canary])).toEqual([])
        }
      }
      expect(failures).toBeGreaterThan(30)
    } finally {
      time.restore()
      await theatre.close()
    }
  })
})
