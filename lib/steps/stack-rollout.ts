/**
 * Carries out a rollout on one host: new beside old, healthy before visible, the proxy turned to them, the old ones drained and
 * removed by id. Before each stage the stage is on the host's disk, so whoever comes after a crash knows which side serves.
 */

import type { Clock } from '../engine/clock.ts'
import { hasCode, LandfallError } from '../errors.ts'
import type { DockerHost, ReleaseText, StateText } from '../providers/ports/docker.ts'
import {
  type FileText,
  type HistoryEntry,
  type Manifest,
  type Rollout,
  type StackState,
  withoutRollout,
  withRelease,
} from '../stack/model.ts'
import { addressesFor, filesDigest, freshOf, oldOf, type Roles, type SeenContainer } from '../stack/rollout.ts'
import { renderUpstreams, servicesServed } from '../stack/upstream.ts'
import { createBeside, idsOf, othersOf, refuseUnhealthy, startAll } from './stack-start.ts'
import { type HostView, lookWith } from './stack-world.ts'

export interface RolloutTools {
  readonly docker: DockerHost
  readonly roles: Roles
  readonly clock: Clock
  readonly runId: string
  /** user@host, for the manifest. */
  readonly who: string
  /** How long a new container may take until it is healthy. */
  readonly startMs: number
  /** How long requests that are under way may take to end. */
  readonly drainMs: number
  readonly signal: AbortSignal
  readonly log: (line: string) => void
}

export const manifestOf = (view: HostView, id: string, { clock, who }: Pick<RolloutTools, 'clock' | 'who'>): Manifest => ({
  id,
  atMs: clock.nowMs(),
  by: who,
  fixtures: view.resolved.fixtures,
  services: Object.fromEntries(
    Object.values(view.resolved.services).map(({ name, image }) => {
      const found = view.images[image]
      return [name, { image, imageId: found?.id ?? '', hash: view.hashes[name] ?? '', digests: found?.digests ?? [] }]
    }),
  ),
})

const releaseText = (view: HostView, id: string, tools: Pick<RolloutTools, 'clock' | 'who'>): ReleaseText => ({
  id,
  config: JSON.stringify(view.resolved.value),
  manifest: JSON.stringify(manifestOf(view, id, tools)),
})

/** Writes the release to the host; it is not yet what runs. */
export const recordRelease = (view: HostView, id: string, tools: RolloutTools): Promise<void> =>
  tools.docker.record(releaseText(view, id, tools))

const stateText = (state: StackState): StateText => ({
  text: JSON.stringify(state),
  keep: [...state.history.map(({ id }) => id), ...(state.rollout ? [state.rollout.release] : [])],
})

const save = ({ docker }: RolloutTools, state: StackState): Promise<void> => docker.setState(stateText(state))

export const entryOf = (view: HostView, id: string, { clock }: Pick<RolloutTools, 'clock'>): HistoryEntry => ({
  id,
  atMs: clock.nowMs(),
  kind: view.target === undefined ? 'deploy' : 'rollback',
  nginx: filesDigest(view.wantedNginxFiles),
})

export const saveRelease = (view: HostView, id: string, tools: RolloutTools): Promise<void> =>
  save(tools, withRelease(view.state, entryOf(view, id, tools)))

/** @throws LandfallError unhealthy when the new release does not come up; then the old one serves as before */
export async function rollOut(view: HostView, id: string, services: readonly string[], tools: RolloutTools): Promise<void> {
  const { docker, log } = tools
  const old = Object.fromEntries(services.map(service => [service, idsOf(view, service)]))
  let rollout: Rollout = {
    release: id,
    run: tools.runId,
    phase: 'starting',
    old,
    rest: view.wantedNginxFiles,
    restBefore: view.nginxFiles,
  }
  /** The state with the rollout in its next phase, for the action that brings it there. */
  const stateAt = (phase: Rollout['phase']): StateText => stateText({ ...view.state, rollout: { ...rollout, phase } })
  try {
    const made = await createBeside(view, services, releaseText(view, id, tools), stateAt('starting'), tools)
    const idsMadeFor = (service: string) => made.filter(each => each.service === service).map(each => each.id)
    await startAll(services, idsMadeFor, view, tools)
    rollout = { ...rollout, phase: 'switching' }
    log('giving the new containers their names')
    const named = made.map(each => ({ id: each.id, aliases: view.resolved.services[each.service]?.aliases ?? {} }))
    const proxies = idsOf(view, tools.roles.nginx)
    const { healths, containers } = await docker.publish(named, stateAt('switching'), proxies, tools.startMs)
    for (const service of services) {
      const ids = idsMadeFor(service)
      refuseUnhealthy(
        service,
        healths.filter(health => ids.includes(health.id)),
        ids.length,
      )
    }
    const workers = await turnTo(freshOf(rollout, containers), containers, rollout.rest, rollout, stateAt('draining'), tools)
    rollout = { ...rollout, phase: 'draining' }
    await drain(workers, tools)
  } catch (error) {
    if (rollout.phase === 'draining' || hasCode(error, 'locked')) throw error
    log('taking it back: the old containers go on serving')
    const after = { ...rollout, phase: rollout.phase === 'starting' ? ('starting' as const) : ('reverting' as const) }
    await takeBack(after, view, tools).catch(failure => {
      throw new LandfallError('unhealthy', `${sentence(error)} Taking it back did not end either: ${sentence(failure)}`, {
        hint: 'The old containers still serve. Run the same command again: it finishes what was left.',
        cause: error,
      })
    })
    throw error
  }
  await leaveOld(rollout, view, stateText(withRelease(view.state, entryOf(view, id, tools))), tools)
}

/** Ends what an earlier run left: forward when the new containers served already, back otherwise. */
export async function finishRollout(rollout: Rollout, view: HostView, tools: RolloutTools): Promise<void> {
  const { docker } = tools
  const lost = Object.keys(rollout.old).filter(
    service => !freshOf(rollout, view.containers).some(each => each.service === service),
  )
  // Somebody removed them meanwhile, and the old ones may be gone too.
  for (const service of lost)
    await docker.up(rollout.release, { service, others: othersOf(view, service), recreate: false, alone: false }, tools.startMs)
  const containers = await containersNow(view, docker)
  const workers = await turnTo(freshOf(rollout, containers), containers, rollout.rest, rollout, undefined, tools)
  await drain(workers, tools)
  const known = view.manifests.some(({ id }) => id === rollout.release)
  const entry: HistoryEntry = {
    id: rollout.release,
    atMs: tools.clock.nowMs(),
    kind: view.state.history.some(({ id }) => id === rollout.release) ? 'rollback' : 'deploy',
    nginx: filesDigest(rollout.rest),
  }
  await leaveOld(rollout, view, stateText(known ? withRelease(view.state, entry) : withoutRollout(view.state)), tools)
}

/** Back to the old containers. Before the switch nothing refers to the new ones, so they just go. */
export async function takeBack(rollout: Rollout, view: HostView, tools: RolloutTools): Promise<void> {
  const { docker } = tools
  const containers = await containersNow(view, docker)
  const fresh = freshOf(rollout, containers)
  if (rollout.phase !== 'starting') {
    await save(tools, { ...view.state, rollout: { ...rollout, phase: 'reverting' } })
    const workers = await turnTo(oldOf(rollout, containers), containers, rollout.restBefore, rollout, undefined, tools)
    await drain(workers, tools)
  }
  await docker.remove(
    fresh.map(({ id }) => id),
    graceOf(view, Object.keys(rollout.old)),
  )
  const settled = stateText(withoutRollout(view.state))
  if (rollout.phase === 'starting') await docker.setState(settled)
  else await restoreNames(rollout.restBefore, [], settled, tools)
}

/** What was begun on a host is ended or taken back there, also after Ctrl-C. */
const NEVER = new AbortController().signal

const containersNow = async (view: HostView, docker: DockerHost): Promise<readonly SeenContainer[]> =>
  (await lookWith(docker, view.resolved, [], NEVER)).containers

/**
 * Turns the proxy to exactly the `wanted`, by address, and writes `state` once it is turned. Answers with the workers that still
 * finish requests elsewhere.
 */
async function turnTo(
  wanted: readonly SeenContainer[],
  seen: readonly SeenContainer[],
  rest: readonly FileText[],
  rollout: Rollout,
  state: StateText | undefined,
  { docker, roles, log }: RolloutTools,
): Promise<readonly string[]> {
  const services = Object.keys(rollout.old).filter(service => wanted.some(container => container.service === service))
  if (servicesServed(rest, services).size === 0) {
    if (state) await docker.setState(state)
    return []
  }
  const attachments = seen.filter(({ service }) => service === roles.nginx).flatMap(({ networks }) => networks)
  const networks = attachments.map(({ network }) => network)
  const rendered = renderUpstreams(rest, addressesFor(services, wanted, networks), rollout.release)
  const files = rest.map(file => rendered.files.find(({ path }) => path === file.path) ?? file)
  log(`${roles.nginx}: switching ${services.join(', ')}`)
  const result = await docker.switchNginx({
    files,
    // A proxy in the host's own network has no address of its own.
    proof: { ...rendered.proof, address: attachments.find(({ address }) => address !== '')?.address ?? '127.0.0.1' },
    ...(state ? { state } : {}),
  })
  if (result.state === 'switched') return result.workers
  const why = result.state === 'refused' ? 'did not accept its new configuration' : 'did not take its new configuration up'
  throw new LandfallError('unhealthy', `${roles.nginx} ${why}, so the old release goes on serving: ${result.said.trim()}`, {
    hint: 'Correct its configuration; check it with: bun scripts/stack.ts audit',
  })
}

async function drain(workers: readonly string[], { docker, drainMs, log }: RolloutTools): Promise<void> {
  if (workers.length === 0) return
  log('waiting until requests under way have ended')
  if (!(await docker.drain(workers, drainMs)))
    log(`some requests lasted longer than ${Math.round(drainMs / 1000)} s; they are cut`)
}

/** Stops the old containers, removes them, puts the names back, and writes `state`, with which the rollout is over. */
async function leaveOld(rollout: Rollout, view: HostView, state: StateText, tools: RolloutTools): Promise<void> {
  const { docker, log } = tools
  const ids = Object.values(rollout.old).flat()
  if (ids.length > 0) {
    log('stopping the old containers')
    await docker.stop(ids, graceOf(view, Object.keys(rollout.old)))
  }
  await restoreNames(rollout.rest, ids, state, tools)
}

/** Names instead of addresses, which do not survive a reboot of the host. Names find only what runs, so what has `ended` may still be there. */
async function restoreNames(
  rest: readonly FileText[],
  ended: readonly string[],
  state: StateText,
  { docker, roles, log }: RolloutTools,
): Promise<void> {
  if (rest.length === 0) {
    await docker.remove(ended, 0)
    return docker.setState(state)
  }
  log(`${roles.nginx}: back to names, so that a reboot finds everything`)
  const result = await docker.switchNginx({ files: rest, ended, state })
  if (result.state !== 'switched')
    throw new LandfallError('unhealthy', `${roles.nginx} serves, but did not take its names up again: ${result.said.trim()}`, {
      hint: 'Run the same command again: it finishes what was left.',
    })
}

const graceOf = (view: HostView, services: readonly string[]): number =>
  Math.max(...services.map(service => view.resolved.services[service]?.stopGraceS ?? 10))

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error))
