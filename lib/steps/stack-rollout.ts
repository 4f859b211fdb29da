/**
 * Carries out a rollout on one host: new beside old, healthy before visible, the proxy turned to them, the old ones drained and
 * removed by id. Before each stage the stage is on the host's disk, so whoever comes after a crash knows which side serves.
 */

import type { Clock } from '../engine/clock.ts'
import { hasCode, LandfallError } from '../errors.ts'
import { listed } from '../estate/words.ts'
import type { DockerHost, ProxyFiles, ReleaseText, StateText } from '../providers/ports/docker.ts'
import {
  type HistoryEntry,
  type Manifest,
  type Rollout,
  type StackState,
  withNginxPaths,
  withoutRollout,
  withRelease,
} from '../stack/model.ts'
import { parseResolved } from '../stack/resolved.ts'
import {
  addedFiles,
  addressesFor,
  filesDigest,
  goneFiles,
  isDark,
  ownPaths,
  partsOf,
  type Roles,
  recovery,
  type SeenContainer,
  undecided,
} from '../stack/rollout.ts'
import { renderUpstreams, servicesServed } from '../stack/upstream.ts'
import { createBeside, idsOf, refuseUnhealthy, startAll } from './stack-start.ts'
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
  save(tools, released(view, entryOf(view, id, tools)))

/** What is wanted runs, by the files that are wanted. */
const released = (view: HostView, entry: HistoryEntry): StackState =>
  withRelease(withNginxPaths(view.state, ownPaths(view, view.wantedNginxFiles)), entry)

/** Before they are written: what a killed run wrote can be removed later too. A release that is only recorded is forgotten. */
export async function claimFiles(view: HostView, tools: RolloutTools): Promise<void> {
  const claimed = [...new Set([...(view.state.nginxPaths ?? []), ...ownPaths(view, view.wantedNginxFiles)])]
  if (claimed.length > (view.state.nginxPaths ?? []).length) await save(tools, withNginxPaths(view.state, claimed))
}

const wantedFiles = (view: HostView): ProxyFiles => ({
  files: view.wantedNginxFiles,
  gone: goneFiles(view, view.wantedNginxFiles),
})

/** For a proxy that does not run yet. */
export const placeFiles = (view: HostView, { docker }: RolloutTools): Promise<void> => docker.setNginxFiles(wantedFiles(view))

export async function loadFiles(view: HostView, { docker, roles }: RolloutTools): Promise<void> {
  const result = await docker.switchNginx(wantedFiles(view))
  if (result.state === 'switched') return
  const said = result.said.trim()
  throw new LandfallError('unhealthy', `${roles.nginx} did not take its configuration up and goes on with what it had: ${said}`, {
    hint: 'Correct it; check it with: bun scripts/stack.ts audit',
  })
}

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
  const rest = wantedFiles(view)
  let made: Awaited<ReturnType<typeof createBeside>> = []
  /** The state with the rollout in its next phase, for the action that brings it there. */
  const stateAt = (phase: Rollout['phase']): StateText => stateText({ ...view.state, rollout: { ...rollout, phase } })
  try {
    made = await createBeside(view, services, releaseText(view, id, tools), stateAt('starting'), tools)
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
    const fresh = containers.filter(container => made.some(each => each.id === container.id))
    const workers = await turnTo(fresh, containers, rest, rollout, stateAt('draining'), tools)
    rollout = { ...rollout, phase: 'draining' }
    await drain(workers, tools)
  } catch (error) {
    if (rollout.phase === 'draining' || hasCode(error, 'locked')) throw error
    log('taking it back: the old containers go on serving')
    throw await afterRecovery(error, rollout, view, tools)
  }
  const ids = Object.values(old).flat()
  try {
    if (ids.length > 0) log('stopping the old containers')
    await stopFor(ids, made, services, view, tools)
  } catch (error) {
    // They ended while requests did, and the old ones still run.
    if (!hasCode(error, 'unhealthy')) throw error
    throw await afterRecovery(error, rollout, view, tools)
  }
  await restoreNames(rest, ids, stateText(released(view, entryOf(view, id, tools))), tools)
}

async function afterRecovery(error: unknown, rollout: Rollout, view: HostView, tools: RolloutTools): Promise<unknown> {
  try {
    await recover(rollout, view, tools)
    return error
  } catch (failure) {
    return new LandfallError('unhealthy', `${sentence(error)} Taking it back did not end either: ${sentence(failure)}`, {
      hint: 'Nothing that serves was removed. Run the same command again: it finishes what was left.',
      cause: error,
    })
  }
}

/**
 * Ends what an earlier run left, or this one began in vain, by what runs now. Each action leaves a world from which the next run
 * comes to the same end.
 */
export async function recover(rollout: Rollout, view: HostView, tools: RolloutTools): Promise<void> {
  const { docker, roles, log } = tools
  let seen = await whatWorks(rollout, view, tools)
  let found = recovery(rollout, seen, roles.nginx)
  const dark = partsOf(rollout, found, seen).kept.filter(each => found.sides[each.service] === 'fresh' && isDark(each))
  if (dark.length > 0) {
    await giveNames(dark, rollout, view, tools)
    seen = await containersNow(view, docker)
    found = recovery(rollout, seen, roles.nginx)
  }
  const { kept, leaving } = partsOf(rollout, found, seen)
  const services = Object.keys(rollout.old)
  const ids = leaving.map(({ id }) => id)
  if (found.proxy === 'untouched') {
    await docker.remove(ids, graceOf(view, services))
    return save(tools, withoutRollout(view.state, view.state.proxy))
  }
  const isForward = rollout.phase === 'draining'
  const rest: ProxyFiles = isForward
    ? { files: rollout.rest, gone: goneFiles(view, rollout.rest) }
    : { files: rollout.restBefore, gone: addedFiles(rollout) }
  const state = isForward ? withNginxPaths(view.state, ownPaths(view, rollout.rest)) : view.state
  const isKnown = view.manifests.some(({ id }) => id === rollout.release)
  const over =
    found.word === 'finish' && isKnown ? withRelease(state, entryOfRollout(rollout, rest, view, tools)) : withoutRollout(state)
  if (found.word !== 'forget' && found.proxy === 'left') {
    await docker.setNginxFiles(rest)
    await docker.remove(ids, graceOf(view, services))
    return save(tools, { ...over, proxy: 'behind' })
  }
  if (found.word !== 'forget')
    try {
      await drain(await turnTo(kept, seen, rest, rollout, undefined, tools), tools)
      if (ids.length > 0) log('stopping those that do not go on')
      await stopFor(ids, kept, services, view, tools)
      return await restoreNames(rest, ids, stateText(over), tools)
    } catch (error) {
      if (!hasCode(error, 'unhealthy')) throw error
      log(sentence(error))
    }
  log(`the rollout of ${rollout.release} is forgotten; what it made and what was before it stay until the next one`)
  await docker.setNginxFiles(rest)
  await save(tools, withoutRollout(state, 'behind'))
}

const entryOfRollout = (
  { release }: Rollout,
  { files }: ProxyFiles,
  { state }: HostView,
  { clock }: RolloutTools,
): HistoryEntry => ({
  id: release,
  atMs: clock.nowMs(),
  kind: state.history.some(({ id }) => id === release) ? 'rollback' : 'deploy',
  nginx: filesDigest(files),
})

/** The containers, once those that have just been started show what they are; after a reboot that is all of them. */
async function whatWorks(
  rollout: Rollout,
  view: HostView,
  { docker, startMs, log }: RolloutTools,
): Promise<readonly SeenContainer[]> {
  const seen = await containersNow(view, docker)
  const ids = undecided(rollout, seen)
  if (ids.length === 0) return seen
  log('waiting until it shows which containers are healthy')
  await Promise.all(ids.map(id => docker.waitHealthy([id], startMs, NEVER)))
  return containersNow(view, docker)
}

async function giveNames(
  dark: readonly SeenContainer[],
  rollout: Rollout,
  view: HostView,
  { docker, startMs }: RolloutTools,
): Promise<void> {
  const { services } = parseResolved(await docker.readRelease(rollout.release, NEVER), String(view.resolved.value.name))
  const named = dark.map(({ id, service }) => ({ id, aliases: services[service]?.aliases ?? {} }))
  await docker.publish(named, stateText({ ...view.state, rollout }), [], startMs)
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
  { files: rest, gone }: ProxyFiles,
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
    gone,
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

/** @throws unhealthy when one of those that are to do their work does not work; then none is stopped */
async function stopFor(
  ids: readonly string[],
  relief: readonly Pick<SeenContainer, 'id' | 'service'>[],
  services: readonly string[],
  view: HostView,
  { docker }: RolloutTools,
): Promise<void> {
  if (ids.length === 0) return
  const fallen = await docker.stop(
    ids,
    graceOf(view, services),
    relief.map(({ id }) => id),
  )
  if (fallen.length === 0) return
  const names = relief.filter(({ id }) => fallen.includes(id)).map(({ service }) => service)
  throw new LandfallError(
    'unhealthy',
    `${listed([...new Set(names)])} ended or became unhealthy where it was to serve alone; nothing was stopped.`,
    { hint: 'Look at its log; correct the image or its configuration and deploy again.' },
  )
}

/** Names instead of addresses, which do not survive a reboot of the host. Names find only what runs, so what has `ended` may still be there. */
async function restoreNames(
  rest: ProxyFiles,
  ended: readonly string[],
  state: StateText,
  { docker, roles, log }: RolloutTools,
): Promise<void> {
  if (rest.files.length === 0) {
    await docker.remove(ended, 0)
    return docker.setState(state)
  }
  log(`${roles.nginx}: back to names, so that a reboot finds everything`)
  const result = await docker.switchNginx({ ...rest, ended, state })
  if (result.state !== 'switched')
    throw new LandfallError('unhealthy', `${roles.nginx} serves, but did not take its names up again: ${result.said.trim()}`, {
      hint: 'Run the same command again: it finishes what was left.',
    })
}

const graceOf = (view: HostView, services: readonly string[]): number =>
  Math.max(...services.map(service => view.resolved.services[service]?.stopGraceS ?? 10))

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error))
