/**
 * Webhooks at GitHub: one per app that is deployed by pushes. The address holds Dokploy's deploy token, which is all that Dokploy looks at
 * on that route; deliveries are signed all the same, so that whatever stands before it can check them. Ours are known by a mark in the
 * address's query, which Dokploy ignores.
 */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { AppSpec } from '../estate/apps.ts'
import { repositoryOf } from '../estate/apps.ts'
import type { Service } from '../providers/ports/dokploy-apps.ts'
import type { GitHub, Hook, Repository, WantedHook } from '../providers/ports/github.ts'
import { Secret } from '../secret.ts'
import { desiredSource } from './app-diff.ts'
import { APP_SLICES, type AppDeps } from './app-place.ts'
import { matchesOf, readHooks, SERVICE_KINDS } from './app-world.ts'
import type { EstateStep } from './deps.ts'

export interface HookDeps extends AppDeps {
  readonly github: GitHub
}

/** The repository whose pushes deploy the app through a webhook of ours. A GitHub App brings its own. */
export const hookRepository = (app: AppSpec): Repository | undefined =>
  app.deployOn === 'push' ? repositoryOf(app.source)?.repository : undefined

export const repositoryName = ({ owner, name }: Repository): string => `${owner}/${name}`

const markOf = (estate: string, app: string): string => `landfall=${estate}.${app}`

/** The hook for a service. The secret follows from the token, so that every machine that runs Landfall wants the same. */
export function desiredHook(
  estate: string,
  app: string,
  panelHost: string,
  service: Pick<Service, 'kind' | 'refreshToken'>,
): WantedHook {
  const token = service.refreshToken.reveal()
  const path = service.kind === 'compose' ? 'compose/' : ''
  const secret = new Bun.CryptoHasher('sha256', token).update('landfall webhook').digest('hex')
  return {
    url: new Secret(`webhook address of ${app}`, `https://${panelHost}/api/deploy/${path}${token}?${markOf(estate, app)}`),
    secret: new Secret(`webhook secret of ${app}`, secret),
  }
}

/** Whether the hook is the one that we made for this app, whatever is wrong with it. */
export const isOurs = (hook: Pick<Hook, 'url'>, estate: string, app: string): boolean => {
  const url = URL.parse(hook.url.reveal())
  return url?.search === `?${markOf(estate, app)}`
}

const faultsOf = (hook: Hook, wanted: WantedHook): string[] => [
  ...(hook.url.reveal() === wanted.url.reveal() ? [] : ['address: another deploy token or panel']),
  ...(hook.active ? [] : ['switched off']),
  ...(hook.signed ? [] : ['not signed']),
  ...(hook.insecure ? ['accepts any certificate'] : []),
  ...(hook.contentType === 'json' ? [] : ['does not send JSON']),
  ...(hook.events.length === 1 && hook.events[0] === 'push' ? [] : [`events: ${hook.events.join(', ')} → push`]),
]

export function hookStep(deps: HookDeps, app: AppSpec, repository: Repository): EstateStep {
  const { estate } = deps
  const name = repositoryName(repository)
  const panelHost = estate.servers.find(spec => spec.name === app.server)?.dokploy?.host
  return {
    id: `hook ${app.name}`,
    noun: 'app',
    title: `a push to ${name} deploys ${app.name}`,
    needs: [`app ${app.name}`, ...(panelHost === undefined ? [] : [`panel ${panelHost}`])],
    reads: [...APP_SLICES, 'hooks'],
    look(world) {
      const create = { kind: 'create', summary: `add a signed webhook at GitHub: pushes to ${name} deploy ${app.name}` } as const
      const view = world.get('apps')[app.server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${app.server}`, create)
      if (desiredSource(app, view).kind === 'github') return done('through the GitHub App that is installed at the panel')
      const service = view.services[matchesOf(view, app, app.name, SERVICE_KINDS)[0]?.id ?? '']
      if (panelHost === undefined)
        return refused(
          `GitHub cannot reach the Dokploy on ${app.server}: its panel has no name.`,
          'Give dns.domain in config.json, or deploy_on "command" for this app.',
        )
      if (!service) return blocked(`app ${app.name}`, create)
      const state = world.get('hooks')[name]
      if (state?.state !== 'seen')
        return refused(
          `The webhooks of ${name} cannot be seen: ${state?.why ?? 'it was not asked'}`,
          'export GITHUB_TOKEN=… with the permission "Webhooks: read and write" on the repository, or set deploy_on to "command".',
        )
      const wanted = desiredHook(estate.name, app.name, panelHost, service)
      const ours = state.hooks.filter(hook => isOurs(hook, estate.name, app.name))
      const [first, ...more] = ours
      const faults = first ? faultsOf(first, wanted) : []
      if (first && faults.length === 0 && more.length === 0) return done(`hook ${first.id}`)
      return todo({
        ...(first ? { kind: 'change' as const, summary: `mend the webhook of ${app.name} at ${name}` } : create),
        details: [...faults, ...more.map(hook => `- hook ${hook.id}, made twice`)],
        async apply({ world: live }) {
          if (!first) await deps.github.createHook(repository, wanted)
          else if (faults.length > 0) await deps.github.setHook(repository, first.id, wanted)
          for (const hook of more) await deps.github.deleteHook(repository, hook.id)
          const read = await readHooks(deps.github, repository)
          live.update('hooks', all => ({ ...all, [name]: read }))
        },
      })
    },
  }
}
