/** Schedules, databases, buckets and backups, registries, SSH keys, notifications. Many creates answer 200 with nothing. */

import { choice, flag, nothing, nullable, number, object, optional, text } from '../input.ts'
import { type Context, mutation, query, type Routes } from '../router.ts'
import { isoOf, randomText } from '../state.ts'
import { refuse } from '../wire.ts'
import { composeVolumes } from './compose-file.ts'
import { anything, id, matching, maybeFlag, maybeNumber, maybeText, namedOnly, words } from './readers.ts'
import type { DatabaseKind, ServiceRow, WireRow } from './rows.ts'

// ── schedules ──

const scheduleFields = {
  name: text(),
  description: maybeText,
  cronExpression: text(),
  appName: optional(text()),
  serviceName: maybeText,
  shellType: optional(choice(['bash', 'sh'])),
  scheduleType: optional(choice(['application', 'compose', 'server', 'dokploy-server'])),
  command: text(),
  script: maybeText,
  applicationId: maybeText,
  composeId: maybeText,
  serverId: maybeText,
  enabled: optional(flag),
  timezone: maybeText,
}

/** `docker exec` in the service's container; 200 whatever comes of it. */
const runSchedule = (context: Context, row: WireRow): unknown => {
  const { platform, clock } = context
  const nowMs = clock.nowMs()
  const service = platform.services.get(String(row.applicationId ?? row.composeId ?? ''))
  const run =
    service && platform.runs.get(service.kind === 'compose' ? `${service.appName}.${String(row.serviceName)}` : service.appName)
  const fault = !run?.current ? 'Error: No container found' : undefined
  const deploymentId = randomText(21)
  platform.deployments.put(deploymentId, {
    deploymentId,
    ownerId: String(row.scheduleId),
    title: 'Schedule',
    description: String(row.name),
    status: fault === undefined ? 'done' : 'error',
    createdAt: isoOf(nowMs),
    startedAtMs: nowMs,
    finishedAt: isoOf(nowMs),
    errorMessage: null,
    rollbackId: null,
    log: fault === undefined ? [`Running command: ${String(row.command)}`, 'OK'] : [fault],
  })
  if (fault === undefined && service) {
    const n = platform.nextId('execs')
    platform.execs.put(String(n), {
      id: String(n),
      appName: service.appName,
      service: String(row.serviceName ?? ''),
      command: String(row.command),
      by: 'schedule',
      atMs: nowMs,
    })
  }
  return { status: fault === undefined ? 'done' : 'error', deploymentId, logPath: `/etc/dokploy/schedules/${deploymentId}.log` }
}

// ── buckets and backups ──

const destinationFields = {
  name: id,
  provider: nullable(text()),
  accessKey: text(),
  bucket: text(),
  region: text(),
  endpoint: text(),
  secretAccessKey: text(),
  additionalFlags: nullable(words),
  serverId: optional(text()),
}
/** Node's default for what a child process may print. */
const CHILD_OUTPUT_BYTES = 1024 * 1024
const DATABASE_TYPES = ['postgres', 'mariadb', 'mysql', 'mongo', 'web-server', 'libsql'] as const
const backupFields = {
  schedule: text(),
  prefix: id,
  destinationId: text(),
  database: id,
  databaseType: choice(DATABASE_TYPES),
  includeEncryptionKey: optional(flag),
}
const volumeFields = {
  name: text(),
  volumeName: matching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/),
  prefix: text(),
  cronExpression: text(),
  destinationId: text(),
  serviceType: optional(choice(['application', 'postgres', 'mysql', 'mariadb', 'mongo', 'redis', 'compose', 'libsql'])),
  appName: optional(text()),
  serviceName: maybeText,
  turnOff: optional(flag),
  keepLatestCount: maybeNumber,
  enabled: maybeFlag,
  applicationId: maybeText,
  composeId: maybeText,
}

/** Writes one object into the simulated bucket, and removes what is over the retention. */
const writeBackup = (context: Context, row: WireRow, folder: string, file: string, kind: string): unknown => {
  const { platform } = context
  const destination = platform.destinations.get(String(row.destinationId))
  if (!destination) return refuse('INTERNAL_SERVER_ERROR', 'Destination not found')
  const base = `${String(destination.endpoint)}/${String(destination.bucket)}/`
  const prefix = String(row.prefix).replace(/^\/+|\/+$/g, '')
  const key = `${folder}/${prefix === '' ? '' : `${prefix}/`}${file}`
  platform.objects.put(`${base}${key}`, { id: `${base}${key}`, key, bytes: 20_480 + platform.objects.size, kind, damaged: false })
  const keep = typeof row.keepLatestCount === 'number' ? row.keepLatestCount : undefined
  const mine = platform.objects.all().filter(each => each.id.startsWith(`${base}${key.slice(0, key.lastIndexOf('/') + 1)}`))
  if (keep !== undefined) for (const old of mine.slice(0, Math.max(0, mine.length - keep))) platform.objects.delete(old.id)
  return true
}

/** Whether containers of this service have made a volume of this name. */
const hasVolume = ({ platform }: Context, service: ServiceRow, volume: string): boolean => {
  if (!platform.runs.all().some(run => run.serviceId === service.id)) return false
  return service.kind === 'compose'
    ? composeVolumes(platform, service).includes(volume)
    : platform.mounts.all().some(mount => mount.applicationId === service.id && mount.volumeName === volume)
}

/** `docker run -v` makes a volume that is missing, and saves it empty. What fails is caught, told in the log, and answered like a success. */
const runVolumeBackup = (context: Context, row: WireRow): void => {
  const { platform, clock } = context
  const service = platform.services.get(String(row.applicationId ?? row.composeId ?? ''))
  const volume = String(row.volumeName)
  const part = service?.kind === 'compose' && typeof row.serviceName === 'string' ? row.serviceName : undefined
  const container = service?.kind === 'compose' ? `${service.appName}.${part}` : (service?.appName ?? '')
  const fault =
    row.turnOff === true && !platform.runs.get(container)?.current
      ? "docker: 'docker stop' requires at least 1 argument"
      : platform.destinations.get(String(row.destinationId))
        ? undefined
        : 'Destination not found'
  if (fault === undefined && service) {
    const folder = part === undefined ? service.appName : `${service.appName}_${part}`
    const kind = hasVolume(context, service, volume) ? 'volume' : 'empty volume'
    writeBackup(context, row, folder, `${volume}-${stamp(context)}.tar`, kind)
  }
  const deploymentId = randomText(21)
  const nowMs = clock.nowMs()
  platform.deployments.put(deploymentId, {
    ...{ deploymentId, ownerId: String(row.volumeBackupId), title: 'Volume Backup', description: 'Volume Backup' },
    ...{ status: fault === undefined ? 'done' : 'error', createdAt: isoOf(nowMs), startedAtMs: nowMs, finishedAt: isoOf(nowMs) },
    ...{ errorMessage: null, rollbackId: null, log: fault === undefined ? ['Upload to S3 done ✅'] : [fault] },
  })
}

const stamp = (context: Context): string => isoOf(context.clock.nowMs()).replace(/[:.]/g, '-')

const manualBackup = (kind: DatabaseKind, suffix: string) =>
  mutation(object({ backupId: id }), (context, { backupId }) => {
    const row = context.platform.backups.get(backupId)
    const owner = context.platform.services.get(String(row?.[`${kind}Id`] ?? ''))
    if (!row || !owner) return refuse('INTERNAL_SERVER_ERROR', 'Backup not found')
    if (owner.columns.applicationStatus !== 'done') return refuse('INTERNAL_SERVER_ERROR', 'Container not found')
    return writeBackup(context, row, owner.appName, `${stamp(context)}.${suffix}`, kind)
  })

const MANUAL: Routes = {
  'backup.manualBackupPostgres': manualBackup('postgres', 'sql.gz'),
  'backup.manualBackupMySql': manualBackup('mysql', 'sql.gz'),
  'backup.manualBackupMariadb': manualBackup('mariadb', 'sql.gz'),
  'backup.manualBackupMongo': manualBackup('mongo', 'bson.gz'),
}

export const operationRoutes: Routes = {
  ...MANUAL,

  'schedule.list': query(
    object({ id: text(), scheduleType: choice(['application', 'compose', 'server', 'dokploy-server']) }),
    ({ platform }, input) => platform.schedules.all().filter(row => row.applicationId === input.id || row.composeId === input.id),
  ),
  'schedule.create': mutation(object(scheduleFields), ({ platform, clock }, input) => {
    const scheduleId = randomText(21)
    const row = {
      scheduleId,
      shellType: 'bash',
      scheduleType: 'application',
      enabled: true,
      createdAt: isoOf(clock.nowMs()),
      ...namedOnly(input),
    }
    platform.schedules.put(scheduleId, row)
    return row
  }),
  'schedule.update': mutation(object({ ...scheduleFields, scheduleId: id }), ({ platform }, input) => {
    const row = platform.schedules.get(input.scheduleId)
    if (!row) return refuse('NOT_FOUND', 'Schedule not found')
    const next = { ...row, ...namedOnly(input) }
    platform.schedules.put(input.scheduleId, next)
    return next
  }),
  'schedule.runManually': mutation(object({ scheduleId: id }), (context, { scheduleId }) => {
    const row = context.platform.schedules.get(scheduleId)
    return row ? runSchedule(context, row) : refuse('INTERNAL_SERVER_ERROR', 'Schedule not found')
  }),

  'destination.all': query(nothing, ({ platform }) => platform.destinations.all()),
  'destination.create': mutation(object(destinationFields), ({ platform, clock }, input) => {
    const destinationId = randomText(21)
    platform.destinations.put(destinationId, { destinationId, createdAt: isoOf(clock.nowMs()), ...namedOnly(input) })
    return undefined
  }),
  'destination.update': mutation(object({ ...destinationFields, destinationId: text() }), ({ platform }, input) => {
    const row = platform.destinations.get(input.destinationId)
    if (!row) return refuse('BAD_REQUEST', 'Destination not found')
    platform.destinations.put(input.destinationId, { ...row, ...namedOnly(input) })
    return true
  }),
  'destination.testConnection': mutation(object(destinationFields), ({ platform }, input) => {
    if (input.accessKey === '' || input.secretAccessKey.includes('wrong'))
      return refuse('BAD_REQUEST', 'Error connecting to bucket: SignatureDoesNotMatch: status code: 403')
    // `rclone ls` of all that is there, in a child process whose output Node cuts off.
    const base = `${input.endpoint}/${input.bucket}/`
    const listed = platform.objects.all().filter(each => each.id.startsWith(base))
    const bytes = listed.reduce((sum, each) => sum + Math.max(9, String(each.bytes).length) + each.key.length + 2, 0)
    return bytes > CHILD_OUTPUT_BYTES
      ? refuse('BAD_REQUEST', 'Command execution failed: stdout maxBuffer length exceeded')
      : undefined
  }),
  'backup.create': mutation(
    object({
      ...backupFields,
      enabled: maybeFlag,
      keepLatestCount: maybeNumber,
      postgresId: maybeText,
      mysqlId: maybeText,
      mariadbId: maybeText,
      mongoId: maybeText,
      userId: optional(text()),
      backupType: optional(choice(['database', 'compose'])),
      composeId: maybeText,
      serviceName: maybeText,
      metadata: anything,
    }),
    ({ platform, state }, input) => {
      if (input.userId !== undefined && !state.users.get(input.userId))
        return refuse(
          'BAD_REQUEST',
          'insert or update on table "backup" violates foreign key constraint "backup_userId_user_id_fk"',
        )
      const backupId = randomText(21)
      // What is not given stays empty, the owner of the panel's own backup too: without one nobody sees it.
      platform.backups.put(backupId, {
        ...{ backupId, appName: `backup-${randomText(6)}`, enabled: true, userId: null, includeEncryptionKey: true },
        ...namedOnly(input),
      })
      return undefined
    },
  ),
  'backup.update': mutation(
    object({
      ...backupFields,
      backupId: text(),
      enabled: nullable(flag),
      keepLatestCount: nullable(number),
      serviceName: nullable(text()),
      metadata: anything,
    }),
    ({ platform }, input) => {
      const row = platform.backups.get(input.backupId)
      if (!row) return refuse('INTERNAL_SERVER_ERROR', 'Backup not found')
      platform.backups.put(input.backupId, { ...row, ...namedOnly(input) })
      return undefined
    },
  ),
  'backup.manualBackupWebServer': mutation(object({ backupId: id }), (context, { backupId }) => {
    const row = context.platform.backups.get(backupId)
    if (!row) return refuse('INTERNAL_SERVER_ERROR', 'Backup not found')
    const kind = row.includeEncryptionKey === true ? 'panel with key' : 'panel'
    return writeBackup(context, row, String(row.appName), `webserver-backup-${stamp(context)}.zip`, kind)
  }),
  'backup.listBackupFiles': query(
    object({ destinationId: text(), search: text(), serverId: optional(text()) }),
    ({ platform }, { destinationId, search }) => {
      const destination = platform.destinations.get(destinationId)
      if (!destination) return refuse('BAD_REQUEST', 'Destination not found')
      const slash = search.lastIndexOf('/')
      const folder = search.slice(0, slash + 1)
      const word = search.slice(slash + 1).toLowerCase()
      const base = `${String(destination.endpoint)}/${String(destination.bucket)}/`
      // One level only, as rclone lists it.
      const names = new Map<string, { Path: string; Name: string; Size: number; IsDir: boolean }>()
      for (const each of platform.objects.all().filter(row => row.id.startsWith(`${base}${folder}`))) {
        const [first = '', ...below] = each.key.slice(folder.length).split('/')
        const isFolder = below.length > 0
        names.set(first, { Path: `${folder}${first}`, Name: first, Size: isFolder ? -1 : each.bytes, IsDir: isFolder })
      }
      return [...names.values()].filter(each => each.Path.toLowerCase().includes(word)).slice(0, 100)
    },
  ),
  'user.getBackups': query(nothing, ({ platform }, _input, caller) => ({
    id: caller.user.id,
    email: caller.user.email,
    backups: platform.backups.all().filter(row => row.userId === caller.user.id),
    apiKeys: [],
  })),
  'volumeBackups.list': query(
    object({
      id,
      volumeBackupType: choice(['application', 'postgres', 'mysql', 'mariadb', 'mongo', 'redis', 'compose', 'libsql']),
    }),
    ({ platform }, input) =>
      platform.volumeBackups.all().filter(row => row.applicationId === input.id || row.composeId === input.id),
  ),
  'volumeBackups.create': mutation(object(volumeFields), ({ platform, clock }, input) => {
    const volumeBackupId = randomText(21)
    const row = { volumeBackupId, turnOff: false, enabled: true, createdAt: isoOf(clock.nowMs()), ...namedOnly(input) }
    platform.volumeBackups.put(volumeBackupId, row)
    return row
  }),
  'volumeBackups.update': mutation(object({ ...volumeFields, volumeBackupId: id }), ({ platform }, input) => {
    const row = platform.volumeBackups.get(input.volumeBackupId)
    if (!row) return refuse('NOT_FOUND', 'Volume backup not found')
    const next = { ...row, ...namedOnly(input) }
    platform.volumeBackups.put(input.volumeBackupId, next)
    return next
  }),
  'volumeBackups.runManually': mutation(object({ volumeBackupId: id }), (context, { volumeBackupId }) => {
    const row = context.platform.volumeBackups.get(volumeBackupId)
    if (!row) return refuse('INTERNAL_SERVER_ERROR', 'Volume backup not found')
    runVolumeBackup(context, row)
    return undefined
  }),

  'registry.all': query(nothing, ({ platform }) => platform.registries.all()),
  'registry.create': mutation(
    object({
      registryName: id,
      username: id,
      password: id,
      registryUrl: text(),
      registryType: choice(['cloud']),
      imagePrefix: nullable(text()),
      serverId: optional(text()),
    }),
    ({ platform, clock }, input) => {
      if (input.password.includes('wrong'))
        return refuse('BAD_REQUEST', 'Error response from daemon: unauthorized: incorrect username or password')
      const registryId = randomText(21)
      const row = { registryId, createdAt: isoOf(clock.nowMs()), ...namedOnly(input) }
      platform.registries.put(registryId, row)
      return row
    },
  ),
  // Private halves come back in clear from the real thing too.
  'sshKey.all': query(nothing, ({ platform }) => platform.sshKeys.all()),
  'sshKey.create': mutation(
    object({ name: id, description: maybeText, privateKey: text(), publicKey: text(), organizationId: text() }),
    ({ platform, clock }, input) => {
      const sshKeyId = randomText(21)
      platform.sshKeys.put(sshKeyId, { sshKeyId, createdAt: isoOf(clock.nowMs()), ...namedOnly(input) })
      return undefined
    },
  ),
  'github.githubProviders': query(nothing, ({ platform }) => platform.githubApps.all()),
}
