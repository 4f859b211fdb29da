/**
 * The product's scripts in this process, against a sandbox in this process, on virtual time: fast enough for thousands of seeds. Left
 * out, and covered by the runs as processes: the process itself (signals, exit, argv), SSH, machines, Dokploy, and the operator's disk
 * under a kill.
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compose } from '../../../lib/compose.ts'
import { readEnvironment } from '../../../lib/environment.ts'
import { exitCodeOf } from '../../../lib/errors.ts'
import { parseConfig, resolveEstate } from '../../../lib/estate/load.ts'
import { mulberry32 } from '../../../lib/sandbox/faults.ts'
import { type Sandbox, startSandbox } from '../../../lib/sandbox/sandbox.ts'
import type { Opened, Script, Session } from '../../../lib/script.ts'
import { knownSecrets } from '../../../lib/secret.ts'
import { parseArgs } from '../../../lib/ui/args.ts'
import { createRefusingAsk } from '../../../lib/ui/ask.ts'
import { createRedactor } from '../../../lib/ui/redact.ts'
import { createReporter } from '../../../lib/ui/report.ts'
import { ZONE } from '../harness/strangers.ts'
import { QUICK } from '../harness/theatre.ts'
import { installVirtualTime, type VirtualTime } from '../harness/time.ts'

export interface Outcome {
  readonly exitCode: number
  readonly errors: readonly { readonly code: string; readonly message: string; readonly hint?: string; readonly bug: boolean }[]
  readonly output: string
  /** By the product's clock. */
  readonly tookMs: number
}

export interface Stage {
  readonly sandbox: Sandbox
  readonly time: VirtualTime
  run(script: Script, words: readonly string[], random: () => number): Promise<Outcome>
  close(): Promise<void>
}

const CONFIG_TEXT = JSON.stringify({
  hetzner: { location: 'nbg1', server_types: { dev: 'cx23', prod: 'cx33', packer_build: 'cx23' } },
  dns: { domain: ZONE, admin_subdomain: 'admin', dev_admin_subdomain: 'dev.admin' },
})
/** Longer than any run may take, by its own clock. */
const RUN_LIMIT_MS = 60 * 60_000
/** Above every pid that Linux gives: each run is a process of its own that is gone when the next one looks. */
const FIRST_PID = 5_000_000

export async function openStage(): Promise<Stage> {
  const time = installVirtualTime()
  const sandbox = await startSandbox({
    clock: { nowMs: time.nowMs },
    seed: { zones: [ZONE], goldenImage: true },
    settings: { ...QUICK, actionMs: { create_server: 8_000, start_server: 3_000, other: 1_000 } },
    hooks: { beforeEffect: time.stir, afterEffect: time.stir, afterAnswer: time.stir },
  })
  const directory = mkdtempSync(join(tmpdir(), 'landfall-schedules-'))
  let runs = 0

  const run: Stage['run'] = async (script, words, random) => {
    runs += 1
    const lines: string[] = []
    const clean = createRedactor(knownSecrets)
    const reporter = createReporter({
      mode: 'json',
      color: false,
      width: 80,
      write: text => void lines.push(text),
      writeError: text => void lines.push(text),
      clean,
    })
    const environment = readEnvironment({ ...sandbox.environment, HOME: directory })
    const args = parseArgs([...words, '--yes', '--json'], script.manual)
    const controller = new AbortController()
    const startedMs = time.nowMs()
    let opened: Promise<Opened> | undefined
    const closers: (() => Promise<void>)[] = []
    const open = async (): Promise<Opened> => {
      const config = parseConfig(CONFIG_TEXT, 'config.json')
      const draft = resolveEstate(config, { adminAddresses: [], publicKeys: [] })
      const own = join(directory, draft.name)
      mkdirSync(own, { recursive: true, mode: 0o700 })
      const estate = resolveEstate(config, { adminAddresses: [], publicKeys: [{ name: 'operator', publicKey: OPERATOR_KEY }] })
      const composition = await compose({
        estate,
        environment,
        identities: [],
        directory: own,
        signal: controller.signal,
        log: line => reporter.log(line),
        takeOver: [],
        configPath: 'config.json',
        reinstall: [],
        lowMemory: false,
      })
      closers.push(composition.close)
      return { estate, composition, directory: own, simulated: [], configPath: 'config.json' }
    }
    const session: Session = {
      manual: script.manual,
      args,
      ask: createRefusingAsk(),
      reporter,
      environment,
      interactive: false,
      signal: controller.signal,
      clean,
      version: '0.0.0',
      reveal: () => undefined,
      elapsedMs: () => time.nowMs() - startedMs,
      open: () => {
        opened ??= open()
        return opened
      },
      with: () => session,
    }
    const before = { random: Math.random, pid: Object.getOwnPropertyDescriptor(process, 'pid') }
    Math.random = random
    Object.defineProperty(process, 'pid', { value: FIRST_PID + runs, configurable: true })
    let exitCode: number
    try {
      exitCode = await script.run(session)
    } catch (error) {
      reporter.error(error)
      exitCode = exitCodeOf(error)
    } finally {
      for (const close of closers) await close()
      Math.random = before.random
      if (before.pid) Object.defineProperty(process, 'pid', before.pid)
    }
    const output = lines.join('')
    const tookMs = time.nowMs() - startedMs
    if (tookMs > RUN_LIMIT_MS) throw new Error(`a run of ${words.join(' ')} took ${Math.round(tookMs / 60_000)} min of its clock`)
    return { exitCode, errors: errorsIn(output), output, tookMs }
  }

  return {
    sandbox,
    time,
    run,
    async close() {
      await sandbox.close()
      time.restore()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

const OPERATOR_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDeUO1Dnk9W4/FtyaxugVBo6e1YA0RKSYxUDWntnP+fr operator@example.com'

const errorsIn = (output: string): Outcome['errors'] =>
  output
    .split('\n')
    .filter(line => line.endsWith('"type":"error"}'))
    .map(line => JSON.parse(line) as Outcome['errors'][number])

export const randomOf = (seed: number): (() => number) => mulberry32(seed)
