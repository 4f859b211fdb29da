/**
 * Speed of provisioning against the critical path, in the sandbox: `bun run bench [A B 20 100 500 help memory]`. Prints figures; never a test.
 * 80 ms per request, create_server 5 s, start_server 1 s, any other action 1 s; the process's own start is included.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const ROOT = new URL('../../', import.meta.url).pathname
const REQUEST_S = 0.08
/** Prerequisites, create, see it run: three requests and the two actions between them. */
const APPLY_S = 3 * REQUEST_S + 5 + 1
/** Look (nothing is remembered between runs), delete the server, its action, see it gone, delete what it used. */
const DESTROY_S = 4 * REQUEST_S + 1

const SETTINGS = {
  latencyMs: 80,
  actionMs: { create_server: 5_000, attach_to_network: 0, start_server: 1_000, other: 1_000 },
  rateLimits: true,
  bootMs: 100_000,
  dokployStartMs: 1_000,
}

const LIMITS: Record<string, { apply: number; requests: number }> = {
  A: { apply: 1.12, requests: 22 },
  B: { apply: 1.12, requests: 48 },
  '100': { apply: 1.15, requests: 180 },
}

const config = (servers: Record<string, number>) => ({
  project: 'bench',
  hetzner: { location: 'nbg1', image: 'debian-12' },
  network: { range: '172.30.0.0/16', subnet: '172.30.0.0/16' },
  firewalls: {
    base: [{ port: 22, from: ['anywhere'], why: 'SSH' }],
    web: [{ port: 443, from: ['anywhere'], why: 'HTTPS' }],
  },
  servers: Object.fromEntries(
    Object.entries(servers).map(([name, count]) => [name, { type: 'cx23', count, network: true, firewalls: ['base', 'web'] }]),
  ),
})

const ESTATES: Record<string, Record<string, number>> = {
  A: { node: 2 },
  B: { node: 3, worker: 15 },
  '20': { node: 20 },
  '100': { node: 100 },
  '500': { node: 500 },
}

const print = (line: string): void => void process.stdout.write(`${line}\n`)

interface Run {
  readonly seconds: number
  readonly summary: { ok: boolean; requests: Record<string, { reads: number; writes: number }> }
}

async function runScript(directory: string, environment: Record<string, string>, ...args: string[]): Promise<Run> {
  const startedMs = performance.now()
  const child = Bun.spawn([process.execPath, join(ROOT, 'scripts/provision.ts'), ...args, '--json'], {
    cwd: directory,
    env: { PATH: process.env.PATH ?? '', HOME: directory, ...environment },
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const text = await new Response(child.stdout).text()
  await child.exited
  const seconds = (performance.now() - startedMs) / 1000
  const lines = text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  for (const line of lines)
    if (line.type === 'error' || line.type === 'warning') process.stderr.write(`${JSON.stringify(line)}\n`)
  const summary = lines.find(line => line.type === 'summary')
  if (!summary) throw new Error(`no summary: ${text.slice(-500)}`)
  return { seconds, summary }
}

async function measure(name: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-bench-'))
  const world = Bun.spawn([process.execPath, join(ROOT, 'tests/bench/world.ts'), JSON.stringify(SETTINGS)], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  try {
    const reader = world.stdout.getReader()
    const environment = JSON.parse(new TextDecoder().decode((await reader.read()).value)) as Record<string, string>
    writeFileSync(join(directory, 'config.json'), JSON.stringify(config(ESTATES[name] ?? {})))
    const count = Object.values(ESTATES[name] ?? {}).reduce((sum, each) => sum + each, 0)
    const requestsSoFar = async () => {
      const requests = (await (await fetch(`${environment.LANDFALL_INTERNET}/_sandbox/requests`)).json()) as {
        vendor: string
        status: number
      }[]
      return requests.filter(each => each.vendor === 'hetzner')
    }
    const step = async (label: string, pathS: number, ...args: string[]) => {
      const before = (await requestsSoFar()).length
      const { seconds, summary } = await runScript(directory, environment, ...args)
      const all = (await requestsSoFar()).slice(before)
      const limited = all.filter(each => each.status === 429).length
      const ratio = seconds / pathS
      const limit = label === 'apply' ? LIMITS[name] : undefined
      const asked = limit
        ? `  (asked: ${limit.apply} x, ${limit.requests} requests)`
        : label === 'destroy'
          ? '  (asked: 1.25 x)'
          : label === 'look'
            ? '  (asked: 0.4 s)'
            : ''
      print(
        `${name.padEnd(4)} ${String(count).padStart(3)} servers  ${label.padEnd(8)} ${seconds.toFixed(2).padStart(7)} s  ${ratio.toFixed(3)} x critical path  ` +
          `${String(all.length).padStart(4)} requests  ${limited} x 429  ${summary.ok ? 'ok' : 'FAILED'}${asked}`,
      )
    }
    await step('apply', APPLY_S, 'apply', '--yes')
    await step('look', REQUEST_S, 'apply', '--yes')
    await step('destroy', DESTROY_S, 'destroy', '--yes', '--confirm', 'bench')
  } finally {
    world.stdin.end()
    await world.exited
    rmSync(directory, { recursive: true, force: true })
  }
}

async function measureHelp(): Promise<void> {
  const time = async (command: string[]) => {
    const runs: number[] = []
    for (let run = 0; run < 15; run++) {
      const startedMs = performance.now()
      await Bun.spawn(command, { cwd: ROOT, stdout: 'ignore', stderr: 'ignore' }).exited
      runs.push(performance.now() - startedMs)
    }
    return runs.sort((a, b) => a - b)[7] ?? 0
  }
  const bareMs = await time([process.execPath, '-e', '1'])
  const helpMs = await time([process.execPath, 'scripts/setup.ts', '--help'])
  print(
    `help  ${helpMs.toFixed(0)} ms; bun -e 1: ${bareMs.toFixed(0)} ms; allowed 2 x + 40 = ${(2 * bareMs + 40).toFixed(0)} ms (medians of 15)`,
  )
}

async function measureMemory(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-bench-'))
  try {
    const child = Bun.spawn(
      [
        process.execPath,
        join(ROOT, 'scripts/setup.ts'),
        '--sandbox=fresh',
        '--config',
        join(ROOT, 'examples/two-servers.json'),
        '--yes',
        '--json',
      ],
      {
        cwd: directory,
        stdout: 'ignore',
        stderr: 'inherit',
      },
    )
    await child.exited
    const peakMb = (child.resourceUsage()?.maxRSS ?? 0) / 1024 / 1024
    print(`memory  peak of a rehearsal, sandbox included: ${peakMb.toFixed(0)} MB (asked: below 200 MB)`)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const wanted = process.argv.slice(2)
for (const name of wanted.length > 0 ? wanted : ['help', 'memory', 'A', 'B', '20', '100', '500'])
  await (name === 'help' ? measureHelp() : name === 'memory' ? measureMemory() : measure(name))
