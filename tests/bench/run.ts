/**
 * Speed of provisioning against the critical path and the rate limit: `bun run bench [A B 20 100 500 spent-20 spent-100 spent-500 help
 * memory]`. Prints figures; never a test. 80 ms per request, create_server 5 s, start_server 1 s, any other action 1 s; the process's own
 * start is included. The rate limit is the vendor's, in real time: 3600 requests at once, then one a second. A `spent` estate finds
 * only 60 left, because others used the project before; its three runs follow each other, and 500 servers take about 20 minutes.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'

const ROOT = new URL('../../', import.meta.url).pathname
const REQUEST_S = 0.08
/** Prerequisites, create, see it run: three requests and the two actions between them. */
const APPLY_S = 3 * REQUEST_S + 5 + 1
/** Look (nothing is remembered between runs), delete the server, its action, see it gone, delete what it used. */
const DESTROY_S = 4 * REQUEST_S + 1
const LOOK_S = REQUEST_S
const LEFT_WHEN_SPENT = 60

const SETTINGS = {
  latencyMs: 80,
  actionMs: { create_server: 5_000, attach_to_network: 0, start_server: 1_000, other: 1_000 },
  rateLimits: true,
}

const ASKED: Record<string, Record<string, string>> = {
  A: { apply: '1.12 x, 22 requests', look: '0.4 s, one request per kind', destroy: '1.25 x' },
  B: { apply: '1.12 x, 48 requests', look: '0.4 s, one request per kind', destroy: '1.25 x' },
  '100': { apply: '1.15 x, 180 requests', look: '0.4 s', destroy: '1.25 x' },
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
  readonly summary: { readonly ok: boolean; readonly changes: number }
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

interface State {
  readonly requests: number
  readonly limited: number
  readonly left: number
  readonly servers: number
  readonly objects: number
}

/** The stand-in's process, asked by lines. */
function startWorld() {
  const child = Bun.spawn([process.execPath, join(ROOT, 'tests/bench/world.ts'), JSON.stringify(SETTINGS)], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const lines = createInterface({ input: Readable.fromWeb(child.stdout) })[Symbol.asyncIterator]()
  const read = async () => JSON.parse((await lines.next()).value ?? 'null')
  return {
    environment: read() as Promise<Record<string, string>>,
    async ask(line: string): Promise<State> {
      child.stdin.write(`${line}\n`)
      child.stdin.flush()
      return read()
    },
    async close() {
      child.stdin.end()
      await child.exited
    },
  }
}

async function measure(name: string): Promise<void> {
  const estate = name.replace('spent-', '')
  const servers = ESTATES[estate]
  if (!servers) throw new Error(`no estate is called ${name}`)
  const count = Object.values(servers).reduce((sum, each) => sum + each, 0)
  const directory = mkdtempSync(join(tmpdir(), 'landfall-bench-'))
  const world = startWorld()
  try {
    const environment = await world.environment
    writeFileSync(join(directory, 'config.json'), JSON.stringify(config(servers)))
    if (name !== estate) await world.ask(`left ${LEFT_WHEN_SPENT}`)
    const step = async (label: string, pathS: number, isRight: (after: State) => boolean, ...args: string[]) => {
      const before = await world.ask('state')
      const { seconds, summary } = await runScript(directory, environment, ...args)
      const after = await world.ask('state')
      const requests = after.requests - before.requests
      // One a second for what the bucket did not hold at the start.
      const limitS = requests - before.left
      const floorS = Math.max(pathS, limitS)
      const asked = name === estate ? ASKED[estate]?.[label] : '1.1 x'
      print(
        `${name.padEnd(9)} ${label.padEnd(8)} ${seconds.toFixed(2).padStart(7)} s  ` +
          `${(seconds / floorS).toFixed(3)} x ${limitS > pathS ? 'the rate limit' : 'critical path'}  ` +
          `${String(requests).padStart(4)} requests  ${after.limited - before.limited} x 429  ` +
          `${summary.ok && isRight(after) ? 'ok' : 'FAILED'}${asked ? `  (asked: ${asked})` : ''}`,
      )
    }
    await step('apply', APPLY_S, after => after.servers === count, 'apply', '--yes')
    await step('look', LOOK_S, after => after.servers === count, 'apply', '--yes')
    await step('destroy', DESTROY_S, after => after.objects === 0, 'destroy', '--yes', '--confirm', 'bench')
  } finally {
    await world.close()
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
for (const name of wanted.length > 0 ? wanted : ['help', 'memory', 'A', 'B', '20', '100', '500', 'spent-20'])
  await (name === 'help' ? measureHelp() : name === 'memory' ? measureMemory() : measure(name))
