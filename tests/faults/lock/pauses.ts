/** Holders that stop, vanish or sleep, and clocks that are wrong: what becomes of the estate, and who writes. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LoggedRequest } from '../../../lib/sandbox/kit.ts'
import { lookAtWorld, type Truth } from '../harness/oracle.ts'
import { type Ended, type Running, run, start } from '../harness/product.ts'
import { openTheatre, type Theatre } from '../harness/theatre.ts'
import { SCENARIOS, type Scenario, type Worlds } from '../kill/scenarios.ts'
import { gate } from '../kill/trial.ts'

/** Past the moment from which a holder is provably unable to write, by the vendor's clock. */
const PAST_TAKEOVER_MS = 100_000

const isWrite = ({ method }: LoggedRequest): boolean => method !== 'GET'

export interface TimedTheatre {
  readonly theatre: Theatre
  /** Moves the vendor's clock and those of every run that was given the file. */
  jump(ms: number, monotonicMs?: number): void
  /** Moves the runs' wall clocks alone. */
  jumpWall(ms: number): void
  readonly inside: Readonly<Record<string, string>>
}

export async function openTimed(worlds: Worlds, scenario: Scenario): Promise<TimedTheatre> {
  let offsetMs = 0
  let wallOffsetMs = 0
  let monotonicOffsetMs = 0
  const theatre = await openTheatre({
    from: await worlds.folder(scenario.world),
    clock: { nowMs: () => Date.now() + offsetMs },
  })
  const file = join(theatre.cwd, 'jumps')
  const write = () => writeFileSync(file, `${offsetMs + wallOffsetMs} ${monotonicOffsetMs}`)
  write()
  return {
    theatre,
    jump(ms, monotonicMs = ms) {
      offsetMs += ms
      monotonicOffsetMs += monotonicMs
      write()
    },
    jumpWall(ms) {
      wallOffsetMs += ms
      write()
    },
    inside: { JUMP_FILE: file },
  }
}

export const scenarioNamed = (name: string): Scenario => {
  const scenario = SCENARIOS.find(each => each.name === name)
  if (!scenario) throw new Error(`there is no scenario "${name}"`)
  return scenario
}

export interface Resumed {
  readonly taker: Ended
  readonly holder: Ended
  /** Requests that could change something, and programs, after the holder was woken; without those that it had given to the network before. */
  readonly writesAfterResume: readonly string[]
  readonly truth: Truth
}

/** What was given to the network and had not arrived: nothing calls it back, and the next holder's read-back has to bear it. */
function underWay(sent: readonly string[], arrived: readonly LoggedRequest[]): string[] {
  const left = [...sent]
  for (const request of arrived) strike(left, request)
  return left
}

/** Takes one such request off the list; whether there was one. */
function strike(list: string[], { method, path }: LoggedRequest): boolean {
  const at = list.findIndex(each => each.startsWith(`${method} `) && each.endsWith(path))
  if (at >= 0) list.splice(at, 1)
  return at >= 0
}

/** Stops a run with SIGSTOP when `event` was answered, lets another host take over and finish, and wakes the first again. */
export async function pauseAndResume(worlds: Worlds, scenario: Scenario, event: string): Promise<Resumed> {
  const { theatre, jump, inside } = await openTimed(worlds, scenario)
  const programs: string[] = []
  try {
    const stopped = Promise.withResolvers<void>()
    let holder: Running | undefined
    theatre.hooks = gate((kind, name, phase) => {
      if (`${kind} ${name}:${phase}` !== `${event}:answer`) return
      holder?.stop()
      stopped.resolve()
    })
    const start1 = { command: scenario.command, cwd: theatre.cwd, env: theatre.sandbox.environment }
    const sentLog = join(theatre.cwd, 'sent.log')
    holder = start({ ...start1, inside: { ...inside, SENT_LOG: sentLog } })
    await Promise.race([
      stopped.promise,
      holder.ended.then(({ exitCode }) => Promise.reject(new Error(`it ended with ${exitCode} before ${event}`))),
    ])
    theatre.hooks = {}
    const sent = existsSync(sentLog) ? readFileSync(sentLog, 'utf8').split('\n').filter(Boolean) : []
    const pending = underWay(sent, theatre.sandbox.requests())
    jump(PAST_TAKEOVER_MS)
    const taker = await run({ ...start1, inside: { ...inside, HOSTNAME: 'another-laptop' } })
    const last = theatre.sandbox.requests().at(-1)?.n ?? 0
    theatre.hooks = {
      beforeProgram: ({ machine, name }) => {
        if (!/^(probe|facts|inspect|read-|watch-)/.test(name)) programs.push(`${machine} ${name}`)
      },
    }
    holder.kill('SIGCONT')
    const ended = await holder.ended
    const writes = theatre.sandbox
      .requests()
      .filter(each => each.n > last && isWrite(each) && !strike(pending, each))
      .map(each => `${each.vendor} ${each.method} ${each.path}`)
    return { taker, holder: ended, writesAfterResume: [...writes, ...programs], truth: lookAtWorld(theatre.sandbox) }
  } finally {
    await theatre.close()
  }
}

export interface LostLaptop {
  readonly early: Ended
  readonly late: Ended
  readonly truth: Truth
}

/** A run on one machine is killed for good; another machine tries at once, and again when the vendor's clock says so. */
export async function loseLaptop(worlds: Worlds, scenario: Scenario, event: string, secondClockShiftMs = 0): Promise<LostLaptop> {
  const { theatre, jump, inside } = await openTimed(worlds, scenario)
  try {
    let holder: Running | undefined
    theatre.hooks = gate(async (kind, name, phase) => {
      if (`${kind} ${name}:${phase}` !== `${event}:answer`) return
      holder?.kill('SIGKILL')
      await holder?.ended
    })
    const start1 = { command: scenario.command, cwd: theatre.cwd, env: theatre.sandbox.environment }
    holder = start({ ...start1, inside: { ...inside, HOSTNAME: 'lost-laptop' } })
    const ended = await holder.ended
    if (ended.exitCode !== 137) throw new Error(`it ended with ${ended.exitCode} before ${event}`)
    theatre.hooks = {}
    const second = { ...inside, HOSTNAME: 'another-laptop', CLOCK_SHIFT_MS: String(secondClockShiftMs) }
    const early = await run({ ...start1, inside: second })
    jump(PAST_TAKEOVER_MS)
    const late = await run({ ...start1, inside: second })
    return { early, late, truth: lookAtWorld(theatre.sandbox) }
  } finally {
    await theatre.close()
  }
}

/** The machine sleeps in the middle of a run: the wall clock jumps, the monotonic one does or does not. */
export async function sleepInTheMiddle(
  worlds: Worlds,
  scenario: Scenario,
  event: string,
  ms: number,
  monotonicMs: number,
): Promise<{ readonly ended: Ended; readonly truth: Truth }> {
  const { theatre, jump, jumpWall, inside } = await openTimed(worlds, scenario)
  try {
    theatre.hooks = gate((kind, name, phase) => {
      if (`${kind} ${name}:${phase}` !== `${event}:answer`) return
      // Time that passes for everybody passes for the vendor too; a clock that is set back is this machine's own.
      if (ms > 0) jump(ms, monotonicMs)
      else jumpWall(ms)
    })
    const ended = await run({ command: scenario.command, cwd: theatre.cwd, env: theatre.sandbox.environment, inside })
    return { ended, truth: lookAtWorld(theatre.sandbox) }
  } finally {
    await theatre.close()
  }
}
