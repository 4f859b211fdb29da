/** What applications need around them: registries, databases, buckets, backups, notifications. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { BackupSpec, BucketSpec, DatabaseSpec, NotificationSpec, RegistrySpec } from '../estate/apps.ts'
import type { Backup, Bucket, NotificationTarget, VolumeBackup } from '../providers/ports/dokploy-apps.ts'
import { Secret } from '../secret.ts'
import { APP_SLICES, type AppDeps, panelApi, placeNeeds, updateView } from './app.ts'
import { desiredMark, fieldDiff } from './app-diff.ts'
import { type AppsView, environmentsOf, matchesOf, SERVICE_KINDS } from './app-world.ts'
import type { EstateStep } from './deps.ts'

export interface BelongingDeps extends AppDeps {
  /** The value of a variable that config.json names. @throws LandfallError config when it is not set */
  readonly secret: (variable: string) => Secret
}

const severalOf = (what: string, server: string, count: number) =>
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

export function bucketStep(deps: BelongingDeps, spec: BucketSpec): EstateStep {
  const { server } = spec
  return {
    id: `bucket ${spec.name}`,
    noun: 'backup',
    title: `backups on ${server} reach bucket ${spec.bucket}`,
    needs: [`dokploy ${server} owner`],
    reads: APP_SLICES,
    look(world) {
      const create = {
        kind: 'create',
        summary: `add bucket ${spec.name} (${spec.bucket} at ${spec.endpoint}) on ${server}`,
      } as const
      const view = world.get('apps')[server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${server}`, create)
      const found = view.buckets.filter(each => each.name === spec.name)
      if (found.length > 1) return severalOf(`buckets called ${spec.name}`, server, found.length)
      const [before] = found
      const wanted: Omit<Bucket, 'id'> = {
        name: spec.name,
        provider: spec.provider,
        endpoint: spec.endpoint,
        region: spec.region,
        bucket: spec.bucket,
        accessKey: deps.secret(spec.accessKeyVariable),
        secretKey: deps.secret(spec.secretKeyVariable),
      }
      const lines = before
        ? [
            ...fieldDiff<Omit<Bucket, 'id'>>(before, wanted, ['provider', 'endpoint', 'region', 'bucket']),
            ...(before.accessKey.reveal() === wanted.accessKey.reveal()
              ? []
              : [`access key: as ${spec.accessKeyVariable} has it`]),
            ...(before.secretKey.reveal() === wanted.secretKey.reveal()
              ? []
              : [`secret key: as ${spec.secretKeyVariable} has it`]),
          ]
        : []
      if (before && lines.length === 0) return done(spec.bucket)
      return todo({
        ...(before ? { kind: 'change' as const, summary: `change bucket ${spec.name} on ${server}` } : create),
        details: before ? lines : ['tried with a real request before it is kept'],
        async apply({ world: live }) {
          const api = await panelApi(deps, server, live)
          await api.testBucket(wanted)
          await api.setBucket({ ...wanted, ...(before ? { id: before.id } : {}) })
          const buckets = await api.listBuckets()
          updateView(live, server, all => ({ ...all, buckets }))
        },
      })
    },
  }
}

interface WantedBackup {
  readonly prefix: string
  readonly schedule: string
  readonly keep: number
  readonly enabled: boolean
  readonly bucketId: string
}
const BACKUP_FIELDS = ['prefix', 'schedule', 'keep', 'enabled', 'bucketId'] as const

/** Where a backup hangs in the world: its owner, and what is kept of it already. */
function ownerOf(spec: BackupSpec, deps: AppDeps, view: AppsView) {
  const { what } = spec
  const platform = deps.estate.platform
  if (what.kind === 'panel') return { kind: 'panel' as const, existing: view.panelBackups }
  if (what.kind === 'database') {
    const database = platform?.databases.find(each => each.name === what.database)
    const found = database && view.databases[matchesOf(view, database, database.name, [database.kind])[0]?.id ?? '']
    return found && database ? { kind: 'database' as const, database: found, spec: database, existing: found.backups } : undefined
  }
  const app = platform?.apps.find(each => each.name === what.app)
  const service = app && view.services[matchesOf(view, app, app.name, SERVICE_KINDS)[0]?.id ?? '']
  return service && { kind: 'volume' as const, service, what, existing: view.volumeBackups[service.id] ?? [] }
}

export function backupStep(deps: AppDeps, spec: BackupSpec): EstateStep {
  const { server, what } = spec
  const subject =
    what.kind === 'panel'
      ? `Dokploy itself on ${server}`
      : what.kind === 'database'
        ? `database ${what.database}`
        : `volume ${what.volume} of ${what.app}`
  return {
    id: `backup ${spec.name}`,
    noun: 'backup',
    title: `${subject} is saved to ${spec.bucket}`,
    needs: [
      `bucket ${spec.bucket}`,
      ...(what.kind === 'database' ? [`database ${what.database}`] : what.kind === 'volume' ? [`app ${what.app}`] : []),
    ],
    reads: APP_SLICES,
    look(world) {
      const create = {
        kind: 'create',
        summary: `save ${subject} to ${spec.bucket} at ${spec.schedule}, keep ${spec.keep}`,
      } as const
      const view = world.get('apps')[server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${server}`, create)
      const bucket = view.buckets.find(each => each.name === spec.bucket)
      const owner = ownerOf(spec, deps, view)
      if (!bucket) return blocked(`bucket ${spec.bucket}`, create)
      if (!owner) return blocked(subject, create)
      const wanted: WantedBackup = {
        prefix: spec.prefix,
        schedule: spec.schedule,
        keep: spec.keep,
        enabled: true,
        bucketId: bucket.id,
      }
      const same = (each: Backup | VolumeBackup): boolean =>
        'volume' in each ? each.name === spec.name : each.prefix === spec.prefix && each.bucketId === bucket.id
      const found = owner.existing.filter(same)
      if (found.length > 1) return severalOf(`backups ${spec.name}`, server, found.length)
      const [before] = found
      const lines = before ? fieldDiff<WantedBackup>(before, wanted, BACKUP_FIELDS) : []
      if (before && lines.length === 0) return done(`${spec.schedule}, ${spec.keep} kept`)
      return todo({
        ...(before ? { kind: 'change' as const, summary: `change the backup of ${subject}` } : create),
        details: before
          ? lines
          : what.kind === 'panel'
            ? ['with its encryption key: without it a restored panel cannot read its secrets']
            : [],
        async apply({ world: live }) {
          const api = await panelApi(deps, server, live)
          const id = before ? { id: before.id } : {}
          if (owner.kind === 'volume') {
            const ref = { kind: owner.service.kind, id: owner.service.id }
            const { prefix, schedule, keep, bucketId } = wanted
            const { volume, stop } = owner.what
            await api.setVolumeBackup(ref, {
              ...id,
              name: spec.name,
              volume,
              stop,
              prefix,
              schedule,
              keep,
              bucketId,
              appName: owner.service.appName,
            })
            const backups = await api.listVolumeBackups(ref)
            updateView(live, server, all => ({ ...all, volumeBackups: { ...all.volumeBackups, [ref.id]: backups } }))
            return
          }
          const { prefix, schedule, keep, bucketId } = wanted
          const common = { ...id, prefix, schedule, keep, bucketId }
          if (owner.kind === 'panel') {
            await api.setBackup({ kind: 'panel' }, { ...common, database: 'dokploy', withEncryptionKey: true })
            const panelBackups = await api.listPanelBackups()
            updateView(live, server, all => ({ ...all, panelBackups }))
            return
          }
          const { kind, id: databaseId } = owner.database
          await api.setBackup({ kind, id: databaseId }, { ...common, database: owner.spec.database, withEncryptionKey: false })
          const read = await api.readDatabase(kind, databaseId)
          updateView(live, server, all => ({ ...all, databases: { ...all.databases, [databaseId]: read } }))
        },
      })
    },
  }
}

const desiredTarget = (deps: BelongingDeps, { target }: NotificationSpec): NotificationTarget => {
  switch (target.kind) {
    case 'slack':
      return { kind: 'slack', url: deps.secret(target.urlVariable), channel: target.channel }
    case 'email':
      return {
        kind: 'email',
        server: target.server,
        port: target.port,
        username: target.username,
        password: deps.secret(target.passwordVariable),
        from: target.from,
        to: target.to,
      }
    default:
      return { kind: target.kind, url: deps.secret(target.urlVariable) }
  }
}

/** Secrets as their equality, the rest as it is. */
function targetDiff(before: NotificationTarget, after: NotificationTarget): string[] {
  const view = (target: NotificationTarget): Record<string, unknown> =>
    Object.fromEntries(Object.entries(target).map(([key, value]) => [key, value instanceof Secret ? hashOf(value) : value]))
  const [have, want] = [view(before), view(after)]
  return [...new Set([...Object.keys(have), ...Object.keys(want)])]
    .filter(key => JSON.stringify(have[key]) !== JSON.stringify(want[key]))
    .map(key =>
      key === 'url' || key === 'password'
        ? `${key}: changed`
        : `${key}: ${JSON.stringify(have[key])} → ${JSON.stringify(want[key])}`,
    )
}
const hashOf = (secret: Secret): string => new Bun.CryptoHasher('sha256').update(secret.reveal()).digest('hex')

export function notificationStep(deps: BelongingDeps, spec: NotificationSpec): EstateStep {
  const { server } = spec
  return {
    id: `notification ${spec.name}`,
    noun: 'app',
    title: `${spec.name} is told by ${spec.target.kind}`,
    needs: [`dokploy ${server} owner`],
    reads: APP_SLICES,
    look(world) {
      const create = { kind: 'create', summary: `tell ${spec.name} by ${spec.target.kind} on ${server}` } as const
      const view = world.get('apps')[server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${server}`, create)
      const found = view.notifications.filter(each => each.name === spec.name)
      if (found.length > 1) return severalOf(`notifications called ${spec.name}`, server, found.length)
      const [before] = found
      const target = desiredTarget(deps, spec)
      if (before && before.target.kind !== target.kind)
        return refused(
          `Notification ${spec.name} on ${server} is of the kind ${before.target.kind}.`,
          'Delete it in the panel, or choose another name.',
        )
      const lines = before ? [...targetDiff(before.target, target), ...fieldDiff(before, { ...before, on: spec.on }, ['on'])] : []
      if (before && lines.length === 0) return done(spec.on.join(', '))
      return todo({
        ...(before ? { kind: 'change' as const, summary: `change the notification ${spec.name} on ${server}` } : create),
        details: before ? lines : [`on ${spec.on.join(', ')}`],
        async apply({ world: live }) {
          const api = await panelApi(deps, server, live)
          await api.setNotification({
            ...(before ? { id: before.id, targetId: before.targetId } : {}),
            name: spec.name,
            target,
            on: spec.on,
          })
          const notifications = await api.listNotifications()
          updateView(live, server, all => ({ ...all, notifications }))
        },
      })
    },
  }
}
