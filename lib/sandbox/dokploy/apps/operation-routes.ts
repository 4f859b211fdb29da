/** Schedules, databases, buckets and backups, registries, SSH keys, notifications. Many creates answer 200 with nothing. */

import { choice, flag, nothing, nullable, number, object, optional, type Reader, text } from '../input.ts'
import { type Context, mutation, query, type Routes } from '../router.ts'
import { isoOf, randomText } from '../state.ts'
import { Refusal, refuse } from '../wire.ts'
import {
  APP_NAME,
  anything,
  id,
  list,
  matching,
  maybeFlag,
  maybeNumber,
  maybeText,
  namedOnly,
  PASSWORD,
  words,
} from './readers.ts'
import { DATABASES, type DatabaseKind, type WireRow } from './rows.ts'
import { addService, patchService, serviceOf, toWireService } from './service-routes.ts'

// ── databases ──

const databaseFields = {
  name: id,
  appName: optional(matching(APP_NAME, { max: 63 })),
  dockerImage: optional(text()),
  environmentId: text(),
  description: maybeText,
  serverId: maybeText,
}
const password = matching(PASSWORD)
const DATABASE_INPUTS = {
  postgres: { ...databaseFields, databaseName: id, databaseUser: id, databasePassword: password },
  mysql: {
    ...databaseFields,
    databaseName: id,
    databaseUser: id,
    databasePassword: password,
    databaseRootPassword: optional(password),
  },
  mariadb: {
    ...databaseFields,
    databaseName: id,
    databaseUser: id,
    databasePassword: password,
    databaseRootPassword: optional(password),
  },
  mongo: { ...databaseFields, databaseUser: id, databasePassword: password },
  redis: { ...databaseFields, databasePassword: text() },
} satisfies Record<DatabaseKind, Readonly<Record<string, Reader<unknown>>>>

const backupsOf = ({ platform }: Context, field: string, owner: string): WireRow[] =>
  platform.backups.all().filter(row => row[field] === owner)

const databaseRoutes = (kind: DatabaseKind): Routes => {
  const key = `${kind}Id`
  const named = (raw: unknown): string => {
    const value = typeof raw === 'object' && raw !== null ? Object.entries(raw).find(([name]) => name === key)?.[1] : undefined
    return typeof value === 'string' ? value : ''
  }
  const find = (context: Context, input: unknown) => serviceOf(context, kind, named(input))
  const idOnly: Reader<Readonly<Record<string, unknown>>> = object({ [key]: id })
  const fields: Readonly<Record<string, Reader<unknown>>> = DATABASE_INPUTS[kind]
  return {
    [`${kind}.create`]: mutation(object(fields), (context, input) => {
      const { name, environmentId, appName, description, ...columns } = input
      const row = addService(
        context,
        kind,
        {
          name: String(name),
          environmentId: String(environmentId),
          appName: typeof appName === 'string' ? appName : undefined,
          description: typeof description === 'string' ? description : null,
        },
        { ...namedOnly(columns), applicationStatus: 'idle' },
      )
      return row instanceof Refusal ? row : toWireService(row)
    }),
    [`${kind}.one`]: query(idOnly, (context, input) => {
      const row = find(context, input)
      return row instanceof Refusal ? row : { ...toWireService(row), mounts: [], backups: backupsOf(context, key, row.id) }
    }),
    [`${kind}.deploy`]: mutation(idOnly, (context, input) => {
      const row = find(context, input)
      if (row instanceof Refusal) return row
      return toWireService(patchService(context, row, { applicationStatus: 'done' }))
    }),
  }
}

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
  volumeName: matching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/),
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

const stamp = (context: Context): string => isoOf(context.clock.nowMs()).replace(/[:.]/g, '-')

const manualBackup = (kind: DatabaseKind, suffix: string) =>
  mutation(object({ backupId: id }), (context, { backupId }) => {
    const row = context.platform.backups.get(backupId)
    const owner = context.platform.services.get(String(row?.[`${kind}Id`] ?? ''))
    if (!row || !owner) return refuse('INTERNAL_SERVER_ERROR', 'Backup not found')
    if (owner.columns.applicationStatus !== 'done') return refuse('INTERNAL_SERVER_ERROR', 'Container not found')
    return writeBackup(context, row, owner.appName, `${stamp(context)}.${suffix}`, kind)
  })

// ── notifications ──

const flagsWith = (read: (reader: Reader<boolean>) => Reader<boolean | undefined>) => ({
  appDeploy: read(flag),
  appBuildError: read(flag),
  databaseBackup: read(flag),
  volumeBackup: read(flag),
  dokployBackup: read(flag),
  dokployRestart: read(flag),
  dockerCleanup: read(flag),
  serverThreshold: read(flag),
})
const needed = flagsWith(reader => reader)
const left = flagsWith(optional)

const NOTIFICATIONS = {
  Slack: { type: 'slack', key: 'slackId', fields: { webhookUrl: id, channel: text() }, flags: needed },
  Discord: { type: 'discord', key: 'discordId', fields: { webhookUrl: id, decoration: flag }, flags: needed },
  Email: {
    type: 'email',
    key: 'emailId',
    fields: { smtpServer: id, smtpPort: number, username: id, password: id, fromAddress: id, toAddresses: list(text()) },
    flags: needed,
  },
  Custom: { type: 'custom', key: 'customId', fields: { endpoint: id, headers: optional(anything) }, flags: left },
} as const

const notificationRoutes = (word: keyof typeof NOTIFICATIONS): Routes => {
  const { type, key, fields, flags } = NOTIFICATIONS[word]
  const own: Readonly<Record<string, Reader<unknown>>> = fields
  const parts = (input: Readonly<Record<string, unknown>>) => {
    const target = Object.fromEntries(Object.entries(input).filter(([name]) => Object.hasOwn(own, name)))
    const rest = Object.fromEntries(
      Object.entries(input).filter(([name]) => !Object.hasOwn(own, name) && name !== 'notificationId' && name !== key),
    )
    return { target: namedOnly(target), rest: namedOnly(rest) }
  }
  const create: Readonly<Record<string, Reader<unknown>>> = { name: text(), ...flags, ...own }
  const optionals = Object.fromEntries(Object.entries(own).map(([name, reader]) => [name, optional(reader)]))
  const update: Readonly<Record<string, Reader<unknown>>> = {
    name: optional(text()),
    ...left,
    ...optionals,
    notificationId: id,
    [key]: key === 'slackId' ? text() : id,
  }
  return {
    [`notification.create${word}`]: mutation(object(create), ({ platform, clock }, input) => {
      const { target, rest } = parts(input)
      const notificationId = randomText(21)
      platform.notifications.put(notificationId, {
        notificationId,
        notificationType: type,
        createdAt: isoOf(clock.nowMs()),
        ...rest,
        [key]: randomText(21),
        [type]: { ...target, [key]: '' },
      })
      return undefined
    }),
    [`notification.update${word}`]: mutation(object(update), ({ platform }, input) => {
      const row = platform.notifications.get(String(input.notificationId))
      if (!row) return refuse('NOT_FOUND', 'Notification not found')
      const inner = typeof row[type] === 'object' && row[type] !== null ? row[type] : {}
      const { target, rest } = parts(input)
      platform.notifications.put(String(row.notificationId), { ...row, ...rest, [type]: { ...inner, ...target } })
      return true
    }),
  }
}

const MANUAL: Routes = {
  'backup.manualBackupPostgres': manualBackup('postgres', 'sql.gz'),
  'backup.manualBackupMySql': manualBackup('mysql', 'sql.gz'),
  'backup.manualBackupMariadb': manualBackup('mariadb', 'sql.gz'),
  'backup.manualBackupMongo': manualBackup('mongo', 'bson.gz'),
}

export const operationRoutes: Routes = {
  ...Object.assign({}, ...DATABASES.map(databaseRoutes)),
  ...Object.assign({}, ...(['Slack', 'Discord', 'Email', 'Custom'] as const).map(notificationRoutes)),
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
  'destination.testConnection': mutation(object(destinationFields), (_context, { accessKey, secretAccessKey }) =>
    accessKey === '' || secretAccessKey.includes('wrong')
      ? refuse('BAD_REQUEST', 'Error connecting to bucket: SignatureDoesNotMatch: status code: 403')
      : undefined,
  ),
  'backup.create': mutation(
    object({
      ...backupFields,
      enabled: maybeFlag,
      keepLatestCount: maybeNumber,
      postgresId: maybeText,
      mysqlId: maybeText,
      mariadbId: maybeText,
      mongoId: maybeText,
      backupType: optional(choice(['database', 'compose'])),
      composeId: maybeText,
      serviceName: maybeText,
      metadata: anything,
    }),
    ({ platform }, input, caller) => {
      const backupId = randomText(21)
      const userId = input.databaseType === 'web-server' ? caller.user.id : null
      platform.backups.put(backupId, { backupId, enabled: true, userId, ...namedOnly(input) })
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
    return writeBackup(context, row, 'dokploy', `webserver-backup-${stamp(context)}.zip`, kind)
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
    return writeBackup(context, row, String(row.appName), `${String(row.volumeName)}-${stamp(context)}.tar`, 'volume')
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
  'notification.all': query(nothing, ({ platform }) =>
    // The target's own id is the foreign key's value.
    platform.notifications
      .all()
      .toReversed()
      .map(row => {
        const type = String(row.notificationType)
        const key = `${type}Id`
        const inner = typeof row[type] === 'object' && row[type] !== null ? row[type] : {}
        return { ...row, [type]: { ...inner, [key]: row[key] } }
      }),
  ),
}
