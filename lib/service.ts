/** What `scripts/service.ts` does with the backend service besides setting it up: updates, logs, a look. */

import { converge } from './converge.ts'
import { endingOf, outputsOf } from './ending.ts'
import { World } from './engine/world.ts'
import { LandfallError } from './errors.ts'
import { flagValues, hasFlag, type Opened, type Session } from './script.ts'
import type { EstateStep } from './steps/deps.ts'
import { serviceSteps } from './steps/estate.ts'
import { runProgram } from './steps/machine.ts'
import { serverSizeStep } from './steps/server-size.ts'
import {
  hasService,
  type ServiceServer,
  type ServiceState,
  serviceTarget,
  settingsOf,
  shortRevision,
  type WantedSettings,
} from './steps/service.ts'
import { isPresentSystem, updateStep, updateSystemStep, type Wanted } from './steps/service-update.ts'
import type { EstateWorld } from './steps/world.ts'
import { commandLine } from './view.ts'

const NO_SERVICE_HINT = 'Describe it under "service" in config.json, as examples/nixos-anywhere.json does.'

/** @throws LandfallError usage when the estate has none */
export function serviceServer({ estate, configPath }: Opened): ServiceServer {
  const spec = estate.servers.find(hasService)
  if (spec) return spec
  throw new LandfallError('usage', `${configPath} describes no service.`, { hint: NO_SERVICE_HINT })
}

const only = (session: Session, opened: Opened, step: (spec: ServiceServer) => EstateStep): Promise<number> => {
  const spec = serviceServer(opened)
  return converge(session, opened, {
    steps: () => [step(spec)],
    partial: true,
    confirmName: opened.estate.name,
    report: world => ({ outputs: { revision: revisionOf(world.get('services')[spec.name]) }, next: nextOf(session) }),
  })
}

const revisionOf = (now: ServiceState | undefined): string => (now?.state === 'present' ? now.facts.revision : '')

const nextOf = ({ args, manual }: Session): string =>
  commandLine({ args: { ...args, action: 'status', names: [], plan: false, flags: {} }, manual })

export async function applyService(session: Session, opened: Opened): Promise<number> {
  const spec = serviceServer(opened)
  // It is there to write the settings, so it does not go on without some of them.
  await settingsOf(opened.composition.deps, spec)
  return converge(session, opened, {
    steps: deps => serviceSteps(deps),
    alsoRead: ['pricing', 'serverTypes'],
    partial: true,
    confirmName: opened.estate.name,
    report: (world, estate) => {
      const { notes } = endingOf(session)(world, estate)
      return {
        outputs: { ...outputsOf(estate, world), service_url: `https://${spec.service.host}` },
        notes: [
          {
            label: `https://${spec.service.host}`,
            text: `revision ${shortRevision(revisionOf(world.get('services')[spec.name]))}`,
          },
          ...notes,
        ],
        next: nextOf(session),
      }
    },
  })
}

export function updateService(session: Session, opened: Opened, wanted: Wanted): Promise<number> {
  return only(session, opened, spec => updateStep(opened.composition.deps, spec, wanted))
}

/** What `--revision` says. @throws LandfallError usage for what is no commit */
export function wantedRevision(session: Session): Wanted {
  const id = flagValues(session, 'revision')[0]?.toLowerCase()
  if (id === undefined) return { kind: 'branch' }
  if (/^[0-9a-f]{7,40}$/.test(id)) return { kind: 'revision', id }
  throw new LandfallError('usage', `--revision ${id} is not the id of a commit (7 to 40 hexadecimal digits).`, {
    hint: 'bun scripts/service.ts --help',
  })
}

export const updateSystem = (session: Session, opened: Opened): Promise<number> =>
  only(session, opened, spec => updateSystemStep(opened.composition.deps, spec))

/** Gives the service's server the size that the config wants, with the time that it is off. */
export function scaleService(session: Session, opened: Opened): Promise<number> {
  const spec = serviceServer(opened)
  return converge(session, opened, {
    steps: deps => [serverSizeStep(deps, spec)],
    partial: true,
    confirmName: opened.estate.name,
    report: endingOf(session),
  })
}

async function lookAt(opened: Opened): Promise<World<EstateWorld>> {
  const world = new World(opened.composition.readers)
  await world.look(['servers', 'machines', 'services', 'serviceSettings'])
  return world
}

/** One page on how it is; 1 when it is not healthy. */
export async function showService(session: Session, opened: Opened): Promise<number> {
  const spec = serviceServer(opened)
  const world = await lookAt(opened)
  const now = world.get('services')[spec.name]
  const { host, branch } = spec.service
  if (now?.state !== 'present') {
    session.reporter.page(`The service does not run on ${spec.name} yet. Set it up: bun scripts/service.ts`, { state: 'absent' })
    return 1
  }
  const { facts, outside } = now
  const behind = facts.remote !== '' && facts.remote !== facts.revision
  const lines = [
    `https://${host}: ${outside}`,
    `service: ${facts.unit}, ${facts.health}; Caddy: ${facts.caddy}`,
    `revision: ${shortRevision(facts.revision)}${behind ? `; ${branch} is at ${shortRevision(facts.remote)}: bun scripts/service.ts update` : `, the head of ${branch}`}`,
    ...(facts.previous === '' ? [] : [`before the last update: ${shortRevision(facts.previous)}`]),
    `settings: ${settingsLine(facts.settings, world.get('serviceSettings'))}`,
    isPresentSystem(opened.composition.deps, spec, facts)
      ? 'system: of the present nixos/'
      : 'system: another than config.json and the present nixos/ say: bun scripts/service.ts update-system',
  ]
  session.reporter.page(lines.join('\n'), { state: 'present', host, outside, ...facts })
  return facts.health === 'healthy' && outside === 'healthy' ? 0 : 1
}

function settingsLine(written: string, wanted: WantedSettings): string {
  if (wanted.state === 'unknown') return `not compared with config.json: ${wanted.why}`
  return written === wanted.hash ? 'as in config.json' : 'differ from config.json: bun scripts/service.ts'
}

const FOLLOW_EVERY_MS = 2_000

/** The service's log; with `--follow` until the operator interrupts. */
export async function showLogs(session: Session, opened: Opened): Promise<number> {
  const spec = serviceServer(opened)
  const lines = flagValues(session, 'lines')[0] ?? '100'
  if (!/^\d{1,4}$/.test(lines) || lines === '0')
    throw new LandfallError('usage', `--lines wants a number from 1 to 9999, not "${lines}".`, {
      hint: 'bun scripts/service.ts --help',
    })
  const { deps } = opened.composition
  const world = new World(opened.composition.readers)
  await world.look(['servers'])
  const target = serviceTarget(deps, spec, world)
  for (let cursor = ''; ; ) {
    const text = await runProgram(deps, target, 'service-logs', { LINES: lines, CURSOR: cursor }, session.signal)
    for (const line of text.split('\n')) {
      const encoded = line.startsWith('log ') ? line.slice(4) : undefined
      if (encoded === undefined) continue
      const text = session.clean(Buffer.from(encoded, 'base64').toString('utf8'))
      session.reporter.page(text, { service: spec.name, text })
    }
    cursor = /^cursor=(.+)$/m.exec(text)?.[1] ?? cursor
    if (!hasFlag(session, 'follow')) return 0
    await deps.clock.sleep(FOLLOW_EVERY_MS, session.signal)
  }
}
