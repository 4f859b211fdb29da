/**
 * Updates of the service's code and of its server's system. Each is one unit on the machine that goes on when the connection ends, looks
 * at the service afterwards, and puts back what was there before when it is not healthy.
 */

import { done, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { Program, ProgramInput, Target } from '../providers/ports/machine.ts'
import type { Deps, EstateStep } from './deps.ts'
import { parseFactLines, runProgram } from './machine.ts'
import { notThere, readService, type ServiceServer, serviceTarget, shortRevision } from './service.ts'
import type { EstateWorld } from './world.ts'

type UpdateDeps = Pick<Deps, 'estate' | 'machines' | 'programs' | 'clock' | 'nixos'>

const POLL_MS = 2_000
/** Longer than the units themselves may take. */
const TIMEOUT_MS = 65 * 60_000
const LOG_LINES_IN_ERROR = 6

/** The head of the branch, a commit, or the one before the last update. */
export type Wanted =
  | { readonly kind: 'branch' }
  | { readonly kind: 'revision'; readonly id: string }
  | { readonly kind: 'previous' }

/** The service runs the wanted revision and is healthy. */
export function updateStep(deps: UpdateDeps, spec: ServiceServer, wanted: Wanted): EstateStep {
  const { service } = spec
  return {
    id: `update ${spec.name}`,
    noun: 'service',
    title: `the service on ${spec.name} runs ${wanted.kind === 'branch' ? `the head of ${service.branch}` : 'the wanted revision'}`,
    needs: [],
    reads: ['servers', 'machines', 'services'],
    typicalMs: 60_000,
    look(world) {
      const now = world.get('services')[spec.name]
      if (now?.state !== 'present' || now.facts.settings === '') return notThere(spec)
      const { revision, back, remote, health } = now.facts
      const target = wanted.kind === 'revision' ? wanted.id : wanted.kind === 'previous' ? back : remote
      if (target === '')
        return wanted.kind === 'previous'
          ? refused(
              `No update of the service on ${spec.name} is known that could be taken back.`,
              'Name a commit: bun scripts/service.ts update --revision ID',
            )
          : refused(
              `${spec.name} cannot read the branch ${service.branch} of ${service.repository}.`,
              'Look at service.repository and service.branch in config.json; the repository has to be public.',
            )
      if (revision.startsWith(target) && health === 'healthy') return done(shortRevision(revision))
      return todo({
        kind: 'change',
        summary: `update the service on ${spec.name} from ${shortRevision(revision)} to ${shortRevision(target)}`,
        details: ['it restarts; when it is not healthy afterwards, the revision before comes back'],
        async apply({ world: live, signal, log }) {
          const machine = serviceTarget(deps, spec, live)
          const values = { REVISION: wanted.kind === 'branch' ? '' : target, BRANCH: service.branch }
          const input = {
            ...values,
            PORT: String(service.port),
            HEALTH: service.health,
            BACK: wanted.kind === 'previous' ? 'yes' : 'no',
          }
          await runUpdate(deps, machine, 'service', { start: deps.programs['start-service-update'], input, signal, log })
          await refresh(deps, spec.name, machine, live)
        },
      })
    },
  }
}

/** The server's system is built from the present flake. */
export function updateSystemStep(deps: UpdateDeps, spec: ServiceServer): EstateStep {
  const { flake } = deps.nixos
  const system = spec.nixos?.system ?? ''
  return {
    id: `update system ${spec.name}`,
    noun: 'machine',
    title: `${spec.name} runs the system that nixos/ describes now`,
    needs: [],
    reads: ['servers', 'machines', 'services'],
    typicalMs: 4 * 60_000,
    look(world) {
      const now = world.get('services')[spec.name]
      if (now?.state !== 'present') return notThere(spec)
      if (now.facts.content === flake.content) return done(`${system}, sources ${flake.content.slice(0, 12)}`)
      return todo({
        kind: 'change',
        summary: `build ${system} on ${spec.name} from the present nixos/ and switch to it`,
        details: [
          `sources ${now.facts.content.slice(0, 12) || 'unknown'} → ${flake.content.slice(0, 12)}`,
          'when SSH or the service does not come back, the system before does',
        ],
        async apply({ world: live, signal, log }) {
          const machine = serviceTarget(deps, spec, live)
          const input = { ARCHIVE: await flake.archive(), SYSTEM: system, CONTENT: flake.content }
          await runUpdate(deps, machine, 'system', { start: deps.programs['start-system-update'], input, signal, log })
          await refresh(deps, spec.name, machine, live)
        },
      })
    },
  }
}

interface Update {
  readonly start: Program
  readonly input: ProgramInput
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

/** Starts the unit, or joins the one that runs, and follows it to its end. @throws unhealthy | vendor | timeout */
async function runUpdate(
  deps: UpdateDeps,
  target: Target,
  kind: 'service' | 'system',
  { start, input, signal, log }: Update,
): Promise<void> {
  const started = await deps.machines.run(target, start, input, signal)
  if (started.exitCode !== 0)
    throw new LandfallError('vendor', `The update on ${target.name} did not start: ${started.stderr.trim().split('\n').at(-1)}`, {
      hint: 'bun scripts/service.ts status',
    })
  if (started.stdout.includes('unit=running')) log('joining the update that runs already')
  const deadlineMs = deps.clock.monotonicMs() + TIMEOUT_MS
  let told = 0
  for (;;) {
    const text = await runProgram(deps, target, 'watch-update', { KIND: kind }, signal)
    const { unit, stage, result = 'none' } = parseFactLines(text)
    const lines = text
      .split('\n')
      .flatMap(line => (line.startsWith('log ') ? [Buffer.from(line.slice(4), 'base64').toString('utf8')] : []))
    for (const line of lines.slice(told)) log(line)
    told = Math.max(told, lines.length)
    if (unit === 'done' || unit === 'failed' || unit === 'absent') {
      if (result === 'updated' || result === 'unchanged') return
      throw failure(target.name, kind, unit === 'absent' ? 'interrupted' : result, lines)
    }
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError(
        'timeout',
        `The update on ${target.name} is still at "${stage}" after ${TIMEOUT_MS / 60_000} minutes.`,
        {
          hint: 'Run the same command again: it joins the update.',
        },
      )
    await deps.clock.sleep(POLL_MS, signal)
  }
}

const OUTCOMES: Readonly<Record<string, string>> = {
  returned: 'was not healthy, so what ran before runs again',
  unhealthy: 'was not healthy, and what ran before does not become healthy either',
  failed: 'could not be made; what ran before was not touched',
  interrupted: 'was ended by a restart of the server',
  none: 'was ended before it was over',
}

const failure = (name: string, kind: 'service' | 'system', result: string, lines: readonly string[]): LandfallError =>
  new LandfallError(
    result === 'failed' ? 'vendor' : 'unhealthy',
    `The update of the ${kind} on ${name} ${OUTCOMES[result] ?? OUTCOMES.none}${lines.length > 0 ? `: ${lines.slice(-LOG_LINES_IN_ERROR).join('; ')}` : '.'}`,
    { hint: kind === 'service' ? 'Its log: bun scripts/service.ts logs' : 'Correct nixos/, then run the same command again.' },
  )

async function refresh(deps: UpdateDeps, name: string, target: Target, live: World<EstateWorld>): Promise<void> {
  const facts = await readService(deps, target)
  live.update('services', all => {
    const now = all[name]
    return now?.state === 'present' ? { ...all, [name]: { ...now, facts } } : all
  })
}
