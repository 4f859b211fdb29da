/** Schedules, databases, buckets, backups, registries, notifications. Creates here answer with nothing: what was made is found by name. */

import { LandfallError } from '../../errors.ts'
import { Secret } from '../../secret.ts'
import type {
  Backup,
  Bucket,
  Database,
  DatabaseKind,
  DokployApps,
  Notification,
  Schedule,
  VolumeBackup,
} from '../ports/dokploy-apps.ts'
import { statusOf } from './apps-wire.ts'
import { clean, OUTPUT_TOO_LONG } from './client.ts'
import { fromWireNotification, toWireNotification } from './notifications.ts'
import {
  exactly,
  flagIn,
  given,
  idIn,
  listIn,
  numberIn,
  type Requests,
  type Row,
  rowOf,
  rowsOf,
  textIn,
  wordsIn,
} from './requests.ts'

const RUN_TIMEOUT_MS = 15 * 60_000
const LIST_TIMEOUT_MS = 3 * 60_000

/** Dokploy's own defaults for two of them name images that do not exist (mariadb:6, mongo:15). */
const IMAGES: Record<DatabaseKind, string> = {
  postgres: 'postgres:17',
  mysql: 'mysql:8',
  mariadb: 'mariadb:11',
  mongo: 'mongo:8',
  redis: 'redis:8',
}

type Calls = Omit<
  Pick<
    DokployApps,
    | 'listSchedules'
    | 'setSchedule'
    | 'runSchedule'
    | 'createDatabase'
    | 'readDatabase'
    | 'startDatabase'
    | 'listBuckets'
    | 'setBucket'
    | 'testBucket'
    | 'listPanelBackups'
    | 'setBackup'
    | 'listVolumeBackups'
    | 'setVolumeBackup'
    | 'runBackup'
    | 'listBackupFiles'
    | 'listRegistries'
    | 'createRegistry'
    | 'listNotifications'
    | 'setNotification'
    | 'listSshKeys'
    | 'listGithubApps'
  >,
  never
>

export const operationCalls = (requests: Requests): Calls => {
  const listSchedules: Calls['listSchedules'] = async ({ kind, id }) =>
    rowsOf(await requests.get('schedule.list', { id, scheduleType: kind }), '/api/schedule.list').map(fromWireSchedule)
  const bucketRows = async () => rowsOf(await requests.get('destination.all'), '/api/destination.all')
  /** Flags for rclone that only the panel has words for: an update replaces them. */
  const flagsOf = async (id: string): Promise<readonly string[]> =>
    (await bucketRows()).filter(each => each.destinationId === id).flatMap(row => wordsIn(row, 'additionalFlags'))
  const listBuckets = async () => (await bucketRows()).map(fromWireBucket)
  const readUser = async () => rowOf(await requests.get('user.getBackups'), '/api/user.getBackups')
  const listPanelBackups = async () => listIn(await readUser(), 'backups').map(fromWireBackup)
  const readDatabase: Calls['readDatabase'] = async (kind, id) =>
    fromWireDatabase(kind, rowOf(await requests.get(`${kind}.one`, { [`${kind}Id`]: id }), `/api/${kind}.one`))
  const listVolumeBackups: Calls['listVolumeBackups'] = async ({ kind, id }) =>
    rowsOf(await requests.get('volumeBackups.list', { id, volumeBackupType: kind }), '/api/volumeBackups.list').map(
      fromWireVolumeBackup,
    )
  const listNotifications = async () =>
    rowsOf(await requests.get('notification.all'), '/api/notification.all').map(fromWireNotification)
  const listRegistries: Calls['listRegistries'] = async () =>
    rowsOf(await requests.get('registry.all'), '/api/registry.all').map(row => ({
      id: idIn(row, 'registryId', '/api/registry.all'),
      name: textIn(row, 'registryName'),
      url: textIn(row, 'registryUrl'),
      username: textIn(row, 'username'),
      prefix: textIn(row, 'imagePrefix'),
    }))

  return {
    listSchedules,
    async setSchedule(ref, schedule) {
      const owner =
        ref.kind === 'application' ? { applicationId: ref.id } : { composeId: ref.id, serviceName: schedule.service ?? null }
      const body = {
        name: schedule.name,
        description: schedule.description,
        cronExpression: schedule.cron,
        scheduleType: ref.kind,
        shellType: schedule.shell,
        command: schedule.command,
        enabled: schedule.enabled,
        ...owner,
      }
      if (schedule.id !== undefined) await requests.set('schedule.update', { scheduleId: schedule.id, ...body })
      else
        await requests.create(
          `schedule ${schedule.name}`,
          'schedule.create',
          body,
          () => true,
          async () => (exactly(await listSchedules(ref), schedule.name, 'schedule') ? true : undefined),
        )
    },
    async runSchedule(scheduleId) {
      // Answers 200 whatever came of it (facts/dokploy 6).
      const row = rowOf(await requests.once('schedule.runManually', { scheduleId }, RUN_TIMEOUT_MS), '/api/schedule.runManually')
      const deploymentId = textIn(row, 'deploymentId')
      const log = deploymentId === '' ? '' : await requests.get('deployment.readLogs', { deploymentId, tail: 20 })
      return { status: row.status === 'done' ? 'done' : 'error', log: typeof log === 'string' ? log : '' }
    },

    async createDatabase({ kind, environmentId, name, description, database, user, password, image }) {
      const base = { name, environmentId, description, dockerImage: image ?? IMAGES[kind], databasePassword: password.reveal() }
      const body =
        kind === 'redis'
          ? base
          : kind === 'mongo'
            ? { ...base, databaseUser: user }
            : kind === 'postgres'
              ? { ...base, databaseName: database, databaseUser: user }
              : { ...base, databaseName: database, databaseUser: user, databaseRootPassword: password.reveal() }
      return requests.create(
        `${kind} ${name}`,
        `${kind}.create`,
        body,
        json => idIn(rowOf(json, `/api/${kind}.create`), `${kind}Id`, `/api/${kind}.create`),
        async () => {
          const environment = rowOf(await requests.get('environment.one', { environmentId }), '/api/environment.one')
          const made = exactly(
            listIn(environment, kind).map(row => ({
              id: idIn(row, `${kind}Id`, '/api/environment.one'),
              name: textIn(row, 'name'),
              description: textIn(row, 'description'),
            })),
            name,
            kind,
          )
          if (!made || made.description === description) return made?.id
          throw new LandfallError('name_taken', `Somebody else made the ${kind} ${clean(name)} at the same moment.`, {
            hint: 'Run the same command again: it shows what is there.',
          })
        },
      )
    },
    readDatabase,
    async startDatabase(kind, id) {
      await requests.set(`${kind}.deploy`, { [`${kind}Id`]: id }, RUN_TIMEOUT_MS)
    },

    listBuckets,
    async setBucket({ id, ...bucket }) {
      if (id !== undefined)
        await requests.set('destination.update', {
          destinationId: id,
          ...toWireBucket(bucket),
          additionalFlags: await flagsOf(id),
        })
      else
        await requests.create(
          `bucket ${bucket.name}`,
          'destination.create',
          toWireBucket(bucket),
          () => true,
          async () => (exactly(await listBuckets(), bucket.name, 'bucket') ? true : undefined),
        )
    },
    async testBucket(bucket) {
      try {
        // Dokploy lists all that is in the bucket: that takes its time, and a second list would not be faster.
        await requests.once('destination.testConnection', toWireBucket(bucket), LIST_TIMEOUT_MS)
      } catch (error) {
        // More names came than it can hold: the keys do work.
        if (!(error instanceof LandfallError) || error.vendorCode !== OUTPUT_TOO_LONG) throw error
      }
    },
    listPanelBackups,
    async setBackup(owner, backup) {
      const databaseType = owner.kind === 'panel' ? 'web-server' : owner.kind
      const common = {
        schedule: backup.schedule,
        prefix: backup.prefix,
        destinationId: backup.bucketId,
        keepLatestCount: backup.keep,
        database: backup.database,
        enabled: true,
        databaseType,
        includeEncryptionKey: backup.withEncryptionKey,
      }
      if (backup.id !== undefined) {
        await requests.set('backup.update', { backupId: backup.id, ...common, serviceName: null, metadata: null })
        return
      }
      // The panel's own backup is listed by the user who owns it, and Dokploy takes that from whoever asks for it.
      const belongsTo =
        owner.kind === 'panel'
          ? { userId: idIn(await readUser(), 'id', '/api/user.getBackups') }
          : { [`${owner.kind}Id`]: owner.id, backupType: 'database' }
      const list = async () => (owner.kind === 'panel' ? listPanelBackups() : (await readDatabase(owner.kind, owner.id)).backups)
      await requests.create(
        `backup ${backup.prefix}`,
        'backup.create',
        { ...common, ...belongsTo },
        () => true,
        async () => (await list()).some(each => each.prefix === backup.prefix && each.bucketId === backup.bucketId) || undefined,
      )
    },
    listVolumeBackups,
    async setVolumeBackup(ref, backup) {
      const body = {
        name: backup.name,
        volumeName: backup.volume,
        prefix: backup.prefix,
        cronExpression: backup.schedule,
        destinationId: backup.bucketId,
        keepLatestCount: backup.keep,
        turnOff: backup.stop,
        enabled: true,
        serviceType: ref.kind,
        appName: backup.appName,
        ...(ref.kind === 'application' ? { applicationId: ref.id } : { composeId: ref.id, serviceName: backup.service ?? null }),
      }
      if (backup.id !== undefined) await requests.set('volumeBackups.update', { volumeBackupId: backup.id, ...body })
      else
        await requests.create(
          `backup ${backup.name}`,
          'volumeBackups.create',
          body,
          () => true,
          async () => (exactly(await listVolumeBackups(ref), backup.name, 'backup') ? true : undefined),
        )
    },
    async runBackup({ kind, id }) {
      if (kind === 'volume') await requests.once('volumeBackups.runManually', { volumeBackupId: id }, RUN_TIMEOUT_MS)
      else await requests.once(`backup.${MANUAL[kind]}`, { backupId: id }, RUN_TIMEOUT_MS)
    },
    listBackupFiles: async (destinationId, search) =>
      rowsOf(await requests.get('backup.listBackupFiles', { destinationId, search }, 60_000), '/api/backup.listBackupFiles')
        .filter(row => row.IsDir !== true)
        .map(row => ({ path: textIn(row, 'Path'), bytes: numberIn(row, 'Size') })),

    listRegistries,
    async createRegistry({ name, url, username, prefix, password }) {
      // Logs in at the registry for real, so a wrong password fails here.
      await requests.create(
        `registry ${name}`,
        'registry.create',
        {
          registryName: name,
          username,
          password: password.reveal(),
          registryUrl: url,
          registryType: 'cloud',
          imagePrefix: prefix === '' ? null : prefix,
        },
        () => true,
        async () => (exactly(await listRegistries(), name, 'registry') ? true : undefined),
      )
    },
    listNotifications,
    async setNotification(notification) {
      const { procedure, body } = toWireNotification(notification)
      if (notification.id !== undefined) await requests.set(procedure, body)
      else
        await requests.create(
          `notification ${notification.name}`,
          procedure,
          body,
          () => true,
          async () => (exactly<Notification>(await listNotifications(), notification.name, 'notification') ? true : undefined),
        )
    },
    listSshKeys: async () =>
      rowsOf(await requests.get('sshKey.all'), '/api/sshKey.all').map(row => ({
        // The same rows hold the private halves: nothing else is taken out of them.
        id: idIn(row, 'sshKeyId', '/api/sshKey.all'),
        name: textIn(row, 'name'),
      })),
    listGithubApps: async () =>
      rowsOf(await requests.get('github.githubProviders'), '/api/github.githubProviders').map(row => ({
        id: idIn(row, 'githubId', '/api/github.githubProviders'),
        name: textIn(row, 'githubAppName'),
      })),
  }
}

const MANUAL = {
  panel: 'manualBackupWebServer',
  postgres: 'manualBackupPostgres',
  mysql: 'manualBackupMySql',
  mariadb: 'manualBackupMariadb',
  mongo: 'manualBackupMongo',
} satisfies Record<Exclude<DatabaseKind, 'redis'> | 'panel', string>

const fromWireSchedule = (row: Row): Schedule => ({
  id: idIn(row, 'scheduleId', '/api/schedule.list'),
  name: textIn(row, 'name'),
  command: textIn(row, 'command'),
  ...given('service', textIn(row, 'serviceName') || undefined),
  shell: row.shellType === 'sh' ? 'sh' : 'bash',
  enabled: row.enabled !== false,
  cron: textIn(row, 'cronExpression'),
})

const fromWireBucket = (row: Row): Bucket => ({
  id: idIn(row, 'destinationId', '/api/destination.all'),
  name: textIn(row, 'name'),
  provider: textIn(row, 'provider'),
  endpoint: textIn(row, 'endpoint'),
  region: textIn(row, 'region'),
  bucket: textIn(row, 'bucket'),
  accessKey: new Secret('S3 access key', textIn(row, 'accessKey')),
  secretKey: new Secret('S3 secret key', textIn(row, 'secretAccessKey')),
})

const toWireBucket = (bucket: Omit<Bucket, 'id'>): Row => ({
  name: bucket.name,
  provider: bucket.provider,
  endpoint: bucket.endpoint,
  region: bucket.region,
  bucket: bucket.bucket,
  accessKey: bucket.accessKey.reveal(),
  secretAccessKey: bucket.secretKey.reveal(),
  additionalFlags: [],
})

const fromWireBackup = (row: Row): Backup => ({
  id: idIn(row, 'backupId', 'a backup'),
  appName: textIn(row, 'appName'),
  bucketId: textIn(row, 'destinationId'),
  prefix: textIn(row, 'prefix'),
  schedule: textIn(row, 'schedule'),
  keep: numberIn(row, 'keepLatestCount'),
  enabled: row.enabled !== false,
  database: textIn(row, 'database'),
  withEncryptionKey: flagIn(row, 'includeEncryptionKey'),
})

const fromWireVolumeBackup = (row: Row): VolumeBackup => ({
  id: idIn(row, 'volumeBackupId', '/api/volumeBackups.list'),
  name: textIn(row, 'name'),
  volume: textIn(row, 'volumeName'),
  ...given('service', textIn(row, 'serviceName') || undefined),
  bucketId: textIn(row, 'destinationId'),
  prefix: textIn(row, 'prefix'),
  schedule: textIn(row, 'cronExpression'),
  keep: numberIn(row, 'keepLatestCount'),
  enabled: row.enabled !== false,
  stop: flagIn(row, 'turnOff'),
})

const fromWireDatabase = (kind: DatabaseKind, row: Row): Database => ({
  kind,
  id: idIn(row, `${kind}Id`, `/api/${kind}.one`),
  name: textIn(row, 'name'),
  appName: textIn(row, 'appName'),
  description: textIn(row, 'description'),
  image: textIn(row, 'dockerImage'),
  database: textIn(row, 'databaseName'),
  user: textIn(row, 'databaseUser'),
  status: statusOf(row.applicationStatus),
  backups: listIn(row, 'backups').map(fromWireBackup),
})
