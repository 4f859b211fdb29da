/** The steps of a stack, host after host: nothing half done, everything started, the fixed services as agreed, the release rolled out. */

import { blocked, type Change, done, type Finding, refused, type Step, todo } from '../engine/step.ts'
import { listed } from '../estate/words.ts'
import { byDependency } from '../stack/resolved.ts'
import {
  releaseId as contentId,
  dependents,
  filesDigest,
  filesInPlace,
  goneFiles,
  judge,
  type Recovery,
  recovery,
  type Side,
  type Verdict,
} from '../stack/rollout.ts'
import { servicesServed } from '../stack/upstream.ts'
import {
  claimFiles,
  loadFiles,
  placeFiles,
  type RolloutTools,
  recordRelease,
  recover,
  rollOut,
  saveRelease,
} from './stack-rollout.ts'
import { othersOf } from './stack-start.ts'
import type { HostView, StackHost, StackWorld, Wish } from './stack-world.ts'

export interface StackStepsOptions {
  readonly project: string
  readonly hosts: readonly StackHost[]
  readonly wish: Wish
  /** Names that the operator gave with `--confirm`. */
  readonly confirmed: readonly string[]
  /** Whether services were named: then changes to others are left alone without a word of refusal. */
  readonly selected: boolean
  readonly tools: Omit<RolloutTools, 'docker' | 'log' | 'signal'>
}

type StackStep = Step<StackWorld>

export function stackSteps(options: StackStepsOptions): readonly StackStep[] {
  let before: readonly string[] = []
  return options.hosts.flatMap(host => {
    const steps = hostSteps(options, host, before)
    // The next host begins when this one serves the release.
    before = steps.slice(-1).map(({ id }) => id)
    return steps
  })
}

function hostSteps(options: StackStepsOptions, host: StackHost, before: readonly string[]): readonly StackStep[] {
  const { project, hosts, tools, wish, confirmed, selected } = options
  const { roles } = tools
  const on = hosts.length > 1 ? ` on ${host.key}` : ''
  const ids = {
    whole: `stack ${project} whole${on}`,
    fixed: `stack ${project} services${on}`,
    release: `stack ${project} release${on}`,
    proxy: `stack ${project} proxy${on}`,
  }
  const step = (
    id: string,
    title: string,
    needs: readonly string[],
    typicalMs: number,
    look: (view: HostView) => Finding<StackWorld>,
  ): StackStep => ({
    id,
    noun: 'stack',
    title: `${title}${on}`,
    needs,
    reads: [host.key],
    typicalMs,
    look: world => look(world.get(host.key)),
  })
  const change = (
    kind: Change<StackWorld>['kind'],
    summary: string,
    details: readonly string[],
    apply: (view: HostView, with_: RolloutTools) => Promise<void>,
  ): Change<StackWorld> => ({
    kind,
    summary,
    details,
    async apply({ world, signal, log }) {
      try {
        await apply(world.get(host.key), { ...tools, docker: host.docker, signal, log })
      } finally {
        // Also after a failure: what is left is looked at, not remembered.
        world.touch(host.key)
      }
    },
  })
  const idOf = (view: HostView) => view.target ?? contentId(view.resolved, view.images)
  const named = selected || wish.kind === 'rollback'

  const whole = step(ids.whole, `no rollout of ${project} is left half done`, before, 10_000, view => {
    const { rollout } = view.state
    if (!rollout) return done('nothing is left')
    const services = listed(Object.keys(rollout.old))
    const found = recovery(rollout, view.facts.containers, roles.nginx)
    const what = `the rollout of ${rollout.release} (${services}) that run ${rollout.run} left`
    return todo(
      change('change', `${VERBS[found.word]} ${what}`, recoveryLines(found, roles.nginx), (now, its) =>
        recover(rollout, now, its),
      ),
    )
  })

  const fixed = step(ids.fixed, `every service of ${project} runs`, [ids.whole], 20_000, view => {
    const missingImage = findMissingImage(view)
    if (missingImage) return refused(missingImage, 'Build or pull it on the host, or correct its name in the Compose file.')
    const verdicts = verdictsOf(view, [...roles.fixed, roles.nginx])
    const isAbsent = (verdict: Verdict) =>
      verdict.service === roles.nginx ? isIdle(verdict) : verdict.state === 'missing' || verdict.state === 'stopped'
    const proxyRuns = verdicts.some(verdict => verdict.service === roles.nginx && !isIdle(verdict))
    // A proxy finds only names that somebody answers to.
    const first = proxyRuns ? [] : verdictsOf(view, roles.rolled).filter(isIdle)
    const absent = [...verdicts.filter(isAbsent), ...first]
    const changed = verdicts.filter(({ service, state }) => state === 'outdated' && service !== roles.nginx)
    // What does its work and ends stops nobody; what is rolled out now waits for it.
    const due = changed.filter(({ service }) => wish.kind === 'deploy' && isAwaited(service, view, roles.rolled))
    const wanted = changed.filter(verdict => due.includes(verdict) || confirmed.includes(verdict.service))
    const unasked = changed.filter(verdict => !wanted.includes(verdict))
    if (unasked.length > 0 && !named) return refuseFixed(unasked, view)
    const order = byDependency(
      [...roles.fixed, ...roles.rolled, roles.nginx].filter(name =>
        [...absent, ...wanted].some(({ service }) => service === name),
      ),
      view.resolved.services,
    )
    if (order.length === 0)
      return done(unasked.length === 0 ? 'all run' : `${listed(unasked.map(({ service }) => service))} left as they are`)
    return todo(
      ...order.map(service => {
        const recreated = wanted.find(verdict => verdict.service === service)
        const ends = view.resolved.services[service]?.ends === true
        const placed = service === roles.nginx && !filesInPlace(view)
        const stops = recreated ? stopsLine(recreated, view) : placed ? filesLines(view, roles.nginx) : []
        return change(
          recreated ? (ends ? 'change' : 'destroy') : 'create',
          ends
            ? `run ${service} to its end${recreated ? `: ${recreated.why}` : ''}`
            : recreated
              ? `recreate ${service}: ${recreated.why}`
              : `start ${service}`,
          ends ? [] : stops,
          async (now, its) => {
            const id = idOf(now)
            if (placed) await claimFiles(now, its)
            await recordRelease(now, id, its)
            if (placed) await placeFiles(now, its)
            await bring(now, id, service, recreated !== undefined, its)
          },
        )
      }),
    )
  })

  const release = step(ids.release, `${listed(roles.rolled)} run the wanted release`, [ids.fixed], 30_000, view => {
    const verdicts = verdictsOf(view, roles.rolled)
    const stale = verdicts.filter(({ state }) => state !== 'current')
    const id = idOf(view)
    const obstacle = findObstacle(view, stale, options)
    if (obstacle) return refused(obstacle, 'Find and correct all of it: bun scripts/stack.ts audit')
    if (view.state.rollout) return blocked('the rollout that was left', { kind: 'change', summary: `roll out ${id}` })
    const current = view.state.history.at(-1)
    const unserved = verdictsOf(view, [roles.nginx]).some(isIdle)
    if (unserved) return blocked('the first start', { kind: 'change', summary: `record release ${id}` })
    if (stale.length === 0) {
      const changed = !filesInPlace(view) || (current !== undefined && current.nginx !== filesDigest(view.wantedNginxFiles))
      const reload = changed || view.state.proxy === 'behind'
      if (current?.id === id && !reload) return done(`release ${id}`)
      return todo(
        change(
          reload ? 'change' : 'create',
          reload ? `reload ${roles.nginx} with its ${changed ? 'changed ' : ''}configuration` : `record release ${id}`,
          filesLines(view, roles.nginx),
          async (now, its) => {
            if (reload) await claimFiles(now, its)
            await recordRelease(now, id, its)
            if (reload) await loadFiles(now, its)
            await saveRelease(now, id, its)
          },
        ),
      )
    }
    const kind = wish.kind === 'rollback' ? 'roll back to' : 'roll out'
    const services = stale.map(({ service }) => service)
    return todo(
      change('change', `${kind} release ${id}: ${listed(services)}`, actionsOf(stale, view, options), (now, its) =>
        rollOut(now, id, services, its),
      ),
    )
  })

  const proxy = step(ids.proxy, `${roles.nginx} runs as wanted`, [ids.release], 5_000, view => {
    const [verdict] = verdictsOf(view, [roles.nginx])
    if (!verdict || verdict.state === 'current' || verdict.state === 'unwell')
      return done(verdict?.why ?? 'it is not in the Compose file')
    if (verdict.state !== 'outdated') return blocked('the first start')
    if (!confirmed.includes(roles.nginx)) {
      if (named) return done(`left as it is, although: ${verdict.why}`)
      return refused(
        `${roles.nginx} itself has changed (${verdict.why}); a proxy is not rolled, so this stops everything behind it for a moment.`,
        `Agree with --confirm ${roles.nginx}, or name the services to deploy: ${roles.rolled.join(' ')}.`,
      )
    }
    return todo(
      change(
        'destroy',
        `recreate ${roles.nginx}: ${verdict.why}`,
        ['everything behind it is out of reach until it has started'],
        (now, its) => bring(now, idOf(now), roles.nginx, true, its),
      ),
    )
  })
  return [whole, fixed, release, proxy]
}

const VERBS = { finish: 'finish', revert: 'take back', keep: 'end', forget: 'forget' } as const satisfies Record<
  Recovery['word'],
  string
>
const GOES_ON = {
  old: 'what was there before goes on',
  fresh: 'the new release goes on',
  foreign: 'what was started by hand goes on',
  none: 'nothing runs, so it is rolled out anew',
} as const satisfies Record<Side, string>

/** What is said of a recovery that is not simply one way. */
const recoveryLines = ({ word, sides, proxy }: Recovery, nginx: string): readonly string[] => [
  ...(word === 'keep' || word === 'forget' ? Object.entries(sides).map(([service, side]) => `${service}: ${GOES_ON[side]}`) : []),
  ...(proxy === 'left' ? [`${nginx}: does not run, and finds its files at rest when it starts`] : []),
]

/** Whether it does its work and ends, and one of these waits for that. */
const isAwaited = (service: string, view: HostView, services: readonly string[]): boolean =>
  view.resolved.services[service]?.ends === true && services.some(name => othersOf(view, name).includes(service))

/** No container of it runs. */
const isIdle = ({ state, containers }: Verdict): boolean =>
  state === 'missing' || (state !== 'current' && containers.every(container => container.state !== 'running'))

const filesLines = (view: HostView, nginx: string): readonly string[] =>
  goneFiles(view, view.wantedNginxFiles).map(path => `${nginx}: remove ${path}, which the project has no longer`)

/** Brings a service that is not rolled up. What it depends on is left out only when Compose would replace that too. */
const bring = (
  view: HostView,
  id: string,
  service: string,
  recreate: boolean,
  { docker, startMs }: RolloutTools,
): Promise<void> => {
  const others = othersOf(view, service)
  const alone = recreate && verdictsOf(view, others).some(({ state }) => state === 'outdated')
  const ends = view.resolved.services[service]?.ends === true
  return docker.up(id, { service, others, recreate, alone, ends }, startMs)
}

const verdictsOf = (view: HostView, services: readonly string[]): readonly Verdict[] =>
  services.flatMap(name => {
    const service = view.resolved.services[name]
    return service ? [judge(service, view)] : []
  })

const stopsLine = ({ service }: Verdict, view: HostView): string[] => {
  const others = dependents(service, view.resolved.services)
  return [`stops ${service} for as long as it takes to start${others.length > 0 ? `; ${listed(others)} depend on it` : ''}`]
}

function refuseFixed(changed: readonly Verdict[], view: HostView): Finding<StackWorld> {
  const whys = changed.map(verdict => `${verdict.service} has changed (${verdict.why}); making it so ${stopsLine(verdict, view)}`)
  return refused(
    `${whys.join('. ')}. It holds state and is never rolled.`,
    `Agree with ${changed.map(({ service }) => `--confirm ${service}`).join(' ')}, or name the services to deploy, which leaves the others alone.`,
  )
}

function findMissingImage(view: HostView): string | undefined {
  const missing = Object.values(view.resolved.services).filter(({ image, replicas }) => replicas > 0 && !view.images[image])
  if (missing.length === 0) return undefined
  const whys = missing.map(({ name, image }) => {
    const why = view.unfetched
      .find(each => each.image === image)
      ?.why.trim()
      .split('\n')
      .at(-1)
    return `${name} needs the image ${image}, which is not on the host${why ? ` and could not be fetched (${why})` : ''}`
  })
  return `${whys.join('; ')}.`
}

function findObstacle(view: HostView, stale: readonly Verdict[], { confirmed, tools }: StackStepsOptions): string | undefined {
  const { services, fixtures } = view.resolved
  const { nginx } = tools.roles
  const whys = stale.flatMap(({ service }) => {
    const wanted = services[service]
    if (!wanted) return []
    if (wanted.replicas === 0)
      return servicesServed(view.wantedNginxFiles, [service]).size > 0
        ? [`${service} is switched off, yet ${nginx} leads to it`]
        : []
    const obstacles = wanted.hasHealthCheck ? wanted.obstacles : ['has no health check', ...wanted.obstacles]
    return obstacles.map(why => `${service} ${why}`)
  })
  const current = view.manifests.find(({ id }) => id === view.state.history.at(-1)?.id)
  if (current && current.fixtures !== fixtures && stale.length > 0 && !confirmed.includes('networks'))
    whys.push(
      'the networks or volumes of the stack have changed, which Compose makes true by stopping what uses them (agree with --confirm networks)',
    )
  return whys.length === 0 ? undefined : `It cannot be rolled out without an interruption: ${whys.join('; ')}.`
}

/** What a dry run shows: every action in its order. */
function actionsOf(stale: readonly Verdict[], view: HostView, { tools }: StackStepsOptions): readonly string[] {
  const { nginx } = tools.roles
  const names = stale.map(({ service }) => service)
  const served = servicesServed(view.wantedNginxFiles, names)
  const old = stale.flatMap(({ containers }) => containers.map(({ id }) => id.slice(0, 12)))
  const limitS = Math.round(tools.startMs / 1000)
  return [
    ...stale.map(({ service, why }) => {
      const count = view.resolved.services[service]?.replicas ?? 1
      if (count === 0) return `${service}: switch it off: ${why}`
      const needed = (view.resolved.services[service]?.awaits ?? []).filter(name => names.includes(name))
      const when = needed.length === 0 ? '' : ` once ${listed(needed)} ${needed.length === 1 ? 'is' : 'are'} healthy`
      return `${service}: start ${count} new beside the old, unseen${when}, and wait until healthy (at most ${limitS} s): ${why}`
    }),
    `give the new containers their names: ${listed(names)}`,
    ...(served.size > 0
      ? [
          ...filesLines(view, nginx),
          `${nginx}: switch ${listed([...served])} to the new addresses by a graceful reload`,
          `wait until requests under way have ended (at most ${Math.round(tools.drainMs / 1000)} s)`,
        ]
      : []),
    ...(old.length > 0 ? [`stop and remove the old containers ${old.join(', ')}`] : []),
    ...(served.size > 0 ? [`${nginx}: back to names, by a graceful reload`] : []),
  ]
}
