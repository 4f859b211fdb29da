/** Opens an estate for commands about applications: inputs read, adapters joined, the two slices of their own given their readers. */

import type { Readers } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { AppSpec, NotificationSpec } from '../estate/apps.ts'
import { didYouMean, quoted } from '../estate/words.ts'
import type { GitHub } from '../providers/ports/github.ts'
import type { Opened, Session } from '../script.ts'
import { appStep } from '../steps/app.ts'
import { type BelongingDeps, databaseStep, registryStep } from '../steps/app-belongings.ts'
import { type AppDeps, placeSteps } from '../steps/app-place.ts'
import { appRecordStep } from '../steps/app-record.ts'
import { platformFor, readAppsOf, readHooks } from '../steps/app-world.ts'
import { backupStep, bucketStep } from '../steps/backup.ts'
import type { Deps, EstateStep } from '../steps/deps.ts'
import { type HookDeps, hookRepository, hookStep, repositoryName } from '../steps/hook.ts'
import { notificationStep } from '../steps/notification.ts'
import type { EstateWorld } from '../steps/world.ts'
import { callNameOf } from './export-belongings.ts'
import { readInputs, secretsFrom } from './inputs.ts'

export interface OpenedApps {
  /** With readers for the slices `apps` and `hooks`. */
  readonly opened: Opened
  readonly deps: AppDeps & HookDeps & BelongingDeps & Pick<Deps, 'dns' | 'outside'>
  /** The chosen apps, or all. */
  readonly apps: readonly AppSpec[]
}

const GITHUB_HINT =
  'Make a token at github.com → Settings → Developer settings → Fine-grained tokens with "Webhooks: read and write", then: export GITHUB_TOKEN=…'

/** GitHub behind the operator's token; without one every call says how to get it. */
export function composeGitHub({ composition }: Pick<Opened, 'composition'>): GitHub {
  const { context, environment } = composition.parts
  const { githubToken: token, githubApiUrl: endpoint } = environment
  const open = async (): Promise<GitHub> => {
    if (!token) throw new LandfallError('token_missing', 'GITHUB_TOKEN is not set.', { hint: GITHUB_HINT })
    const { createGitHub } = await import('../providers/github/github.ts')
    return createGitHub({ token, context, ...(endpoint ? { endpoint } : {}) })
  }
  return {
    listHooks: async repository => (await open()).listHooks(repository),
    createHook: async (repository, hook) => (await open()).createHook(repository, hook),
    setHook: async (repository, id, hook) => (await open()).setHook(repository, id, hook),
    deleteHook: async (repository, id) => (await open()).deleteHook(repository, id),
  }
}

/**
 * The apps with these names.
 * @param actions what a word that names no app may have been meant for
 * @throws LandfallError usage with the nearest name
 */
export function chooseApps(
  all: readonly AppSpec[],
  names: readonly string[],
  actions: readonly string[] = [],
): readonly AppSpec[] {
  if (names.length === 0) return all
  return names.map(name => {
    const app = all.find(each => each.name === name)
    if (app) return app
    const known = all.map(each => each.name)
    throw new LandfallError('usage', `The estate has no app ${quoted(name)}${didYouMean(name, [...known, ...actions]) || '.'}`, {
      hint:
        known.length === 0
          ? 'Describe it under apps in the configuration; docs/config.md lists the keys.'
          : `It has: ${known.join(', ')}.`,
    })
  })
}

/** `without` inputs for a command that makes them. */
export function openApps(session: Session, opened: Opened, inputs: 'with' | 'without' = 'with'): OpenedApps {
  const { composition } = opened
  const platform = platformFor(composition.deps)
  const apps = chooseApps(
    platform.apps,
    session.args.names,
    session.manual.actions?.map(action => action.name),
  )
  const github = composeGitHub(opened)
  const deps = {
    ...composition.deps,
    appsOn: composition.appsOn,
    inputOf: inputs === 'with' ? readInputs(opened.configPath, { apps }) : () => ({}),
    github,
    secret: secretsFrom(composition.parts.environment.lookup),
  }
  const servers = [
    ...new Set(Object.values(platform).flatMap(list => list.map((each: { readonly server: string }) => each.server))),
  ]
  const readers: Readers<EstateWorld> = {
    ...composition.readers,
    apps: async get => {
      const [known, panels] = [await get('servers'), await get('panels')]
      const entries = servers.map(async name => [name, await readAppsOf(deps, name, known, panels[name])] as const)
      return Object.fromEntries(await Promise.all(entries))
    },
    hooks: async () => {
      const repositories = new Map(
        apps.flatMap(app => {
          const repository = hookRepository(app)
          return repository ? [[repositoryName(repository), repository] as const] : []
        }),
      )
      const entries = [...repositories].map(async ([name, repository]) => [name, await readHooks(github, repository)] as const)
      return Object.fromEntries(await Promise.all(entries))
    },
  }
  return { opened: { ...opened, composition: { ...composition, readers } }, deps, apps }
}

/** A post-deploy call is a notification: the one thing that Dokploy does after a push for an application (facts/dokploy 13). */
const callNotification = (app: AppSpec): NotificationSpec[] =>
  app.postDeploy.action === 'call'
    ? [
        {
          name: callNameOf(app.name),
          server: app.server,
          target: { kind: 'webhook', urlVariable: app.postDeploy.urlVariable },
          on: ['deploy'],
        },
      ]
    : []

/** One record for each name in the estate's own zone. */
function recordSteps(deps: OpenedApps['deps'], apps: readonly AppSpec[]): EstateStep[] {
  const { dns } = deps.estate
  if (!dns) return []
  const hosts = new Map(apps.flatMap(app => app.domains.map(domain => [domain.host, app.server] as const)))
  return [...hosts]
    .filter(([host]) => host === dns.zone || host.endsWith(`.${dns.zone}`))
    .map(([name, server]) => appRecordStep(deps, { name, server, ttl: dns.records[0]?.ttl ?? 300, proxied: false }))
}

/** Everything that lives in Dokploy, for the chosen apps; what is nobody's own (databases, backups …) only when all are meant. */
export function appSteps({ deps, apps }: OpenedApps, scope: 'all' | 'chosen'): EstateStep[] {
  const platform = platformFor(deps)
  const databases = scope === 'all' ? platform.databases : []
  const registries = platform.registries.filter(each => scope === 'all' || apps.some(app => app.registry === each.name))
  const places = [...apps, ...databases].flatMap(place => placeSteps(deps, place))
  const byId = new Map(places.map(step => [step.id, step]))
  return [
    ...byId.values(),
    ...registries.map(spec => registryStep(deps, spec)),
    ...databases.map(spec => databaseStep(deps, spec)),
    ...apps.map(app => appStep(deps, app)),
    ...recordSteps(deps, apps),
    ...apps.flatMap(app => {
      const repository = hookRepository(app)
      return repository ? [hookStep(deps, app, repository)] : []
    }),
    ...apps.flatMap(callNotification).map(spec => notificationStep(deps, spec)),
    ...(scope === 'all'
      ? [
          ...platform.buckets.map(spec => bucketStep(deps, spec)),
          ...platform.backups.map(spec => backupStep(deps, spec)),
          ...platform.notifications.map(spec => notificationStep(deps, spec)),
        ]
      : []),
  ]
}
