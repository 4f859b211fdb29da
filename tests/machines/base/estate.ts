/** An estate's folder and the product's own commands in it, as processes, against a sandbox with container machines. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execPath, env as outer } from 'node:process'
import type { Hooks } from '../../../lib/sandbox/kit.ts'
import { type Sandbox, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import { BASE_IMAGE, buildBase, machinesDirectory } from './build.ts'

const ROOT = new URL('../../../', import.meta.url).pathname

export interface Line {
  readonly type: string
  readonly [field: string]: unknown
}

export interface Ran {
  readonly code: number
  readonly ms: number
  readonly lines: readonly Line[]
  /** All that it wrote. */
  readonly text: string
  /** Message and hint of each error, and of each step that was refused. */
  readonly errors: readonly string[]
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  /** Kills it with SIGKILL when this settles. */
  readonly killedBy?: Promise<void>
}

export interface Place {
  readonly cwd: string
  /** `setup --yes`; `--json` is added. */
  run(command: string, options?: RunOptions): Promise<Ran>
  configure(config: unknown): void
  close(): void
}

export const openContainers = async (hooks: Hooks = {}): Promise<Sandbox> => {
  const directory = machinesDirectory()
  await buildBase(directory)
  return startSandbox({
    machines: { kind: 'container', directory, image: BASE_IMAGE },
    settings: { actionMs: { other: 20 }, rateLimits: false },
    seed: { zones: ['example.com'] },
    hooks,
  })
}

export const openPlace = (sandbox: Sandbox, config: unknown): Place => {
  const cwd = mkdtempSync(join(tmpdir(), 'landfall-place-'))
  const configure = (next: unknown) => writeFileSync(join(cwd, 'config.json'), JSON.stringify(next))
  configure(config)
  return {
    cwd,
    configure,
    async run(command, { env = {}, killedBy } = {}) {
      const [script = '', ...args] = command.split(' ')
      const startedMs = performance.now()
      const child = Bun.spawn([execPath, join(ROOT, `scripts/${script}.ts`), ...args, '--json'], {
        cwd,
        // As in CI, where this computer's address is nobody's and is let in nowhere.
        env: { PATH: outer.PATH ?? '', HOME: cwd, CI: '1', ...sandbox.environment, ...env },
        stdout: 'pipe',
        stderr: 'pipe',
      })
      void killedBy?.then(() => child.kill('SIGKILL'))
      const [said, complaints, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ])
      const lines = said.split('\n').flatMap(parseLine)
      return {
        code,
        ms: performance.now() - startedMs,
        lines,
        text: said + complaints,
        errors: lines.flatMap(complaintsOf),
      }
    },
    close: () => rmSync(cwd, { recursive: true, force: true }),
  }
}

const complaintsOf = ({ type, message, hint, entries }: Line): string[] => {
  if (type === 'error') return [[message, hint].join(' ')]
  if (type !== 'plan' || !Array.isArray(entries)) return []
  return entries.filter(entry => entry.state === 'refused').map(entry => [entry.detail, entry.hint].join(' '))
}

/** A killed process may leave half a line. */
const parseLine = (text: string): Line[] => {
  if (!text.startsWith('{') || !text.endsWith('}')) return []
  return [JSON.parse(text) as Line]
}

/** One server with Dokploy and without a name, on the vendor's Debian. */
export const oneServer = (project: string, more: Readonly<Record<string, unknown>> = {}): unknown => ({
  project,
  hetzner: { location: 'nbg1', image: 'debian-12' },
  servers: { [project]: { type: 'cx23', dokploy: true } },
  dokploy: { admin_email: 'admin@example.com' },
  ...more,
})

/** The attempts that the installer wrote down on a machine: at most one of them at any time, or this throws. */
export const attemptsOf = async (sandbox: Sandbox, name: string): Promise<number> => {
  const ran = await sandbox.controls.containers?.exec(name, ['cat', '/var/log/landfall/dokploy-install.log'])
  const open: string[] = []
  let attempts = 0
  for (const [, number = '', word] of (ran?.stdout ?? '').matchAll(/attempt (\d+) (begins|ended)/g)) {
    if (word === 'ended') open.splice(open.indexOf(number), 1)
    else {
      attempts += 1
      open.push(number)
    }
    if (open.length > 1) throw new Error(`Two installers at once on ${name}: ${open.join(' and ')}.\n${ran?.stdout}`)
  }
  return attempts
}

/** From "server running" to "Dokploy healthy" on a machine that was installed once, and where that time went, in whole seconds. */
export const timelineOf = async (sandbox: Sandbox, name: string): Promise<string> => {
  const server = sandbox.controls.hetzner.serversForMachines().find(each => each.name === name)
  const ran = await sandbox.controls.containers?.exec(name, ['cat', '/var/log/landfall/dokploy-install.log'])
  const marks = [...(ran?.stdout ?? '').matchAll(/^(\S+) stage: (\S+)$/gm)].map(([, at = '', stage = '']) => ({
    stage,
    atMs: Date.parse(at),
  }))
  const runningMs = server?.runningSinceMs ?? Number.NaN
  const healthyMs = marks.find(({ stage }) => stage === 'traefik')?.atMs ?? Number.NaN
  const seconds = (ms: number) => Math.round(ms / 1000)
  const parts = marks.flatMap(({ stage, atMs }, index) => {
    const next = marks[index + 1]?.atMs
    return next === undefined || next > healthyMs || next - atMs < 1000 ? [] : [`${stage} ${seconds(next - atMs)}`]
  })
  const before = seconds((marks[0]?.atMs ?? Number.NaN) - runningMs)
  return `${name}: running to healthy ${seconds(healthyMs - runningMs)} s (before the installation ${before}, ${parts.join(', ')})`
}
