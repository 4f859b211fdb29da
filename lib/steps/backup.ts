/** Buckets, and the backups that go there: of databases, of volumes, and of the panel itself with its key. */

import { blocked, done, todo } from '../engine/step.ts'
import type { BackupSpec, BucketSpec } from '../estate/apps.ts'
import type { Backup, Bucket, Service, VolumeBackup } from '../providers/ports/dokploy-apps.ts'
import { type BelongingDeps, severalOf } from './app-belongings.ts'
import { fieldDiff } from './app-diff.ts'
import { APP_SLICES, type AppDeps, panelApi, updateView } from './app-place.ts'
import { type AppsView, matchesOf, SERVICE_KINDS } from './app-world.ts'
import { volumeNameOf } from './backup-volume.ts'
import type { EstateStep } from './deps.ts'

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
  /** Of the panel only: a database's dump has no key. */
  readonly withEncryptionKey?: boolean
  readonly volume?: string
  readonly service?: string
  readonly stop?: boolean
}
const BACKUP_FIELDS = ['prefix', 'schedule', 'keep', 'enabled', 'bucketId'] as const
const FIELDS = {
  panel: [...BACKUP_FIELDS, 'withEncryptionKey'],
  database: BACKUP_FIELDS,
  volume: [...BACKUP_FIELDS, 'volume', 'service', 'stop'],
} as const satisfies Record<BackupSpec['what']['kind'], readonly (keyof WantedBackup)[]>

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

const savedVolumeOf = (service: Service, { volume, service: part, stop }: Extract<BackupSpec['what'], { kind: 'volume' }>) => ({
  volume: volumeNameOf(service, volume),
  ...(part === undefined ? {} : { service: part }),
  stop,
})

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
        ...(owner.kind === 'panel' ? { withEncryptionKey: true } : {}),
        ...(owner.kind === 'volume' ? savedVolumeOf(owner.service, owner.what) : {}),
      }
      const same = (each: Backup | VolumeBackup): boolean =>
        'volume' in each ? each.name === spec.name : each.prefix === spec.prefix && each.bucketId === bucket.id
      const found = owner.existing.filter(same)
      if (found.length > 1) return severalOf(`backups ${spec.name}`, server, found.length)
      const [before] = found
      const lines = before ? fieldDiff<WantedBackup>(before, wanted, FIELDS[owner.kind]) : []
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
            await api.setVolumeBackup(ref, {
              ...id,
              ...savedVolumeOf(owner.service, owner.what),
              name: spec.name,
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
