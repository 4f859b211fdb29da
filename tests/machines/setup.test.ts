/** The whole tour on machines that are real systems: stock Debian, our installer, first admin, names, a look from outside; twice. */

import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { STRANGER } from '../../lib/sandbox/exposure.ts'
import { type Sandbox, startSandbox } from '../../lib/sandbox/sandbox.ts'
import { BASE_IMAGE, buildBase, machinesDirectory } from './base/build.ts'
import { BUILD_TIMEOUT_MS, CLOSE_TIMEOUT_MS, PORTS } from './base/world.ts'

const ROOT = new URL('../../', import.meta.url).pathname
const SETUP_MS = 10 * 60_000
const ALLOWED = [22, 80, 443]

let sandbox: Sandbox
const cwd = mkdtempSync(join(tmpdir(), 'landfall-setup-'))

beforeAll(async () => {
  const directory = machinesDirectory()
  await buildBase(directory)
  sandbox = await startSandbox({
    machines: { kind: 'container', directory, image: BASE_IMAGE },
    settings: { actionMs: { other: 20 }, rateLimits: false },
    seed: { zones: ['example.com'] },
  })
  writeFileSync(
    join(cwd, 'config.json'),
    JSON.stringify({
      hetzner: { location: 'nbg1', image: 'debian-12', server_types: { dev: 'cx23', prod: 'cx33' } },
      dns: { domain: 'example.com', admin_subdomain: 'admin', dev_admin_subdomain: 'dev.admin' },
    }),
  )
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await sandbox?.close()
  rmSync(cwd, { recursive: true, force: true })
}, CLOSE_TIMEOUT_MS)

interface Line {
  readonly type: string
  readonly [field: string]: unknown
}

async function run(script: string, ...args: string[]): Promise<{ code: number; lines: Line[]; text: string }> {
  const child = Bun.spawn([process.execPath, join(ROOT, `scripts/${script}.ts`), ...args, '--json'], {
    cwd,
    env: { PATH: process.env.PATH ?? '', HOME: cwd, ...sandbox.environment },
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [text, failures, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  const lines = text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Line)
  return { code, lines, text: text + failures }
}

/** What a stranger gets an answer from, asked again and again until told to stop; each finding once. */
function watchAsStranger(): { stop(): Promise<{ looks: number; reached: Set<string> }> } {
  const reached = new Set<string>()
  let looks = 0
  let stopped = false
  const watching = (async () => {
    while (!stopped) {
      const servers = (sandbox.world().hetzner as { servers: { name: string; public_net?: unknown }[] }).servers
      const addresses = sandbox.controls.hetzner
        .serversForMachines()
        .flatMap(server => [server.ipv4, server.ipv6].filter(each => typeof each === 'string'))
      if (servers.length > 0) {
        const found = await Promise.all(
          addresses.flatMap(address =>
            PORTS.map(async port => {
              const source = address.includes(':') ? STRANGER.ipv6 : STRANGER.ipv4
              const state = await sandbox.controls.containers?.probe(source, address, port)
              return state === 'open' ? [`${port}`] : []
            }),
          ),
        )
        for (const port of found.flat()) reached.add(port)
        looks += 1
      }
      await Bun.sleep(250)
    }
  })()
  return {
    async stop() {
      stopped = true
      await watching
      return { looks, reached }
    },
  }
}

describe('the two-server estate on real systems', () => {
  test(
    'is set up, verified from outside, and never open to a stranger on anything else',
    async () => {
      const watch = watchAsStranger()
      const { code, lines, text } = await run('setup', '--yes')
      const seen = await watch.stop()
      expect({ code, errors: lines.filter(line => line.type === 'error') }).toEqual({ code: 0, errors: [] })
      const summary = lines.find(line => line.type === 'summary')
      expect(summary).toMatchObject({
        ok: true,
        outputs: { dev_url: 'https://dev.admin.example.com', prod_url: 'https://admin.example.com' },
      })
      expect(text).not.toContain('BEGIN OPENSSH')
      expect(seen.looks).toBeGreaterThan(10)
      expect([...seen.reached].map(Number).filter(port => !ALLOWED.includes(port))).toEqual([])
      expect([...seen.reached].map(Number)).toEqual(expect.arrayContaining(ALLOWED))
      process.stderr.write(
        `setup on container machines: ${Math.round(Number(summary?.durationMs) / 1000)} s, ${seen.looks} looks by a stranger\n`,
      )
    },
    SETUP_MS,
  )

  test(
    'needs nothing the second time',
    async () => {
      const before = sandbox.requests().length
      const { code, lines } = await run('setup', '--yes')
      expect({ code, errors: lines.filter(line => line.type === 'error') }).toEqual({ code: 0, errors: [] })
      const sent = sandbox.requests().slice(before)
      expect(
        sent
          .filter(request => request.method !== 'GET' && request.vendor !== 'dokploy')
          .map(({ method, path }) => `${method} ${path}`),
      ).toEqual([])
    },
    SETUP_MS,
  )

  test(
    'is destroyed without a trace',
    async () => {
      const { code } = await run('destroy', '--yes', '--confirm', 'example')
      expect(code).toBe(0)
      const { servers, firewalls } = sandbox.world().hetzner as { servers: unknown[]; firewalls: unknown[] }
      expect({ servers, firewalls }).toEqual({ servers: [], firewalls: [] })
    },
    SETUP_MS,
  )
})
