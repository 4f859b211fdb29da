/** What applications need around them: registries and databases. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { DatabaseSpec, RegistrySpec } from '../estate/apps.ts'
import { Secret } from '../secret.ts'
import { desiredMark, fieldDiff } from './app-diff.ts'
import { APP_SLICES, type AppDeps, panelApi, placeNeeds, updateView } from './app-place.ts'
import { environmentsOf, matchesOf } from './app-world.ts'
import type { EstateStep } from './deps.ts'

export interface BelongingDeps extends AppDeps {
  /** The value of a variable that config.json names. @throws LandfallError config when it is not set */
  readonly secret: (variable: string) => Secret
}

export const severalOf = (what: string, server: string, count: number) =>
  refused(
    `Dokploy on ${server} has ${count} ${what}: which one is meant is not clear.`,
    'Delete or rename the others in the panel.',
  )

/** A registry is made, and never changed: its password can't be compared with what Dokploy keeps without showing it. */
export function registryStep(deps: BelongingDeps, spec: RegistrySpec): EstateStep {
  return {
    id: `registry ${spec.name}`,
    noun: 'app',
    title: `registry ${spec.name} is known to Dokploy on ${spec.server}`,
    needs: [`dokploy ${spec.server} owner`],
    reads: APP_SLICES,
    look(world) {
      const create = { kind: 'create', summary: `add registry ${spec.name} (${spec.url}) on ${spec.server}` } as const
      const view = world.get('apps')[spec.server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${spec.server}`, create)
      const found = view.registries.filter(each => each.name === spec.name)
      if (found.length > 1) return severalOf(`registries called ${spec.name}`, spec.server, found.length)
      const [registry] = found
      if (!registry)
        return todo({
          ...create,
          details: [`as ${spec.username}, with a real login`],
          async apply({ world: live }) {
            const api = await panelApi(deps, spec.server, live)
            const { name, url, username, prefix } = spec
            await api.createRegistry({ name, url, username, prefix, password: deps.secret(spec.passwordVariable) })
            const registries = await api.listRegistries()
            updateView(live, spec.server, all => ({ ...all, registries }))
          },
        })
      const lines = fieldDiff(registry, { ...registry, url: spec.url, username: spec.username, prefix: spec.prefix }, [
        'url',
        'username',
        'prefix',
      ])
      return lines.length === 0
        ? done(spec.url)
        : refused(
            `Registry ${spec.name} on ${spec.server} is another: ${lines.join('; ')}.`,
            'Change it in the panel, or give the new one another name.',
          )
    },
  }
}

/** 32 random bytes in letters and digits that every database takes. */
const newPassword = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')

/** The database runs. Its password is made here, kept by Dokploy, and shown by nobody. */
export function databaseStep(deps: AppDeps, spec: DatabaseSpec): EstateStep {
  const { server, kind } = spec
  return {
    id: `database ${spec.name}`,
    noun: 'app',
    title: `database ${spec.name} (${kind}) runs on ${server}`,
    needs: placeNeeds(spec),
    reads: APP_SLICES,
    look(world) {
      const create = {
        kind: 'create',
        summary: `create ${kind} ${spec.name} in ${spec.project}/${spec.environment} on ${server}`,
      } as const
      const view = world.get('apps')[server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${server}`, create)
      const [environment] = environmentsOf(view, spec)
      if (!environment) return blocked(`project ${spec.project}`, create)
      const found = matchesOf(view, spec, spec.name, [kind])
      if (found.length > 1) return severalOf(`databases called ${spec.name}`, server, found.length)
      const database = view.databases[found[0]?.id ?? '']
      const start = async (id: string, live: Parameters<typeof panelApi>[2]) => {
        const api = await panelApi(deps, server, live)
        await api.startDatabase(kind, id)
        const read = await api.readDatabase(kind, id)
        updateView(live, server, all => ({ ...all, databases: { ...all.databases, [id]: read } }))
      }
      if (!database)
        return todo({
          ...create,
          details: ['password made here and kept in Dokploy; its address inside is shown by: bun scripts/app.ts export'],
          async apply({ world: live }) {
            const api = await panelApi(deps, server, live)
            const id = await api.createDatabase({
              kind,
              environmentId: environment.id,
              name: spec.name,
              description: `${desiredMark(deps.estate.name, spec.name)} run=${deps.runId}`,
              database: spec.database,
              user: spec.user,
              password: new Secret(`password of ${spec.name}`, newPassword()),
              ...(spec.image === undefined ? {} : { image: spec.image }),
            })
            updateView(live, server, all => ({
              ...all,
              projects: all.projects.map(project => ({
                ...project,
                environments: project.environments.map(each =>
                  each.id === environment.id ? { ...each, services: [...each.services, { kind, id, name: spec.name }] } : each,
                ),
              })),
            }))
            await start(id, live)
          },
        })
      if (database.status === 'done') return done(`${database.appName}, ${database.image}`)
      return todo({
        kind: 'change',
        summary: `start ${kind} ${spec.name} on ${server}`,
        apply: ({ world: live }) => start(database.id, live),
      })
    },
  }
}
