/** What applications need around them, as config.json would say it. No password comes along: variables are named that shall hold them. */

import { slug } from '../estate/naming.ts'
import type { Backup, DokployApps, Notification, Registry, Service, VolumeBackup } from '../providers/ports/dokploy-apps.ts'
import { volumeCalled } from '../steps/backup-volume.ts'

export type Section = Record<string, unknown>

export interface Belongings {
  readonly registries: Section
  readonly buckets: Section
  readonly backups: Section
  readonly notifications: Section
  /** What the config has no word for, in sentences. */
  readonly left: readonly string[]
}

/** The name of the notification that carries an app's post-deploy call. */
export const callNameOf = (app: string): string => `landfall post-deploy ${app}`

/** A variable that shall hold a secret. */
export const variableFor = (name: string, what: string): string =>
  `${name
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, '_')
    .replace(/^[^A-Z]+/, '')}_${what}`.slice(0, 63)

const notificationOf = ({ target, on, name }: Notification, server: string): Section | undefined => {
  const common = { server, kind: target.kind, on }
  switch (target.kind) {
    case 'slack':
      return { ...common, url_env: variableFor(name, 'URL'), ...(target.channel === '' ? {} : { channel: target.channel }) }
    case 'discord':
    case 'webhook':
      return { ...common, url_env: variableFor(name, 'URL') }
    case 'email':
      return {
        ...common,
        smtp_server: target.server,
        smtp_port: target.port,
        username: target.username,
        password_env: variableFor(name, 'PASSWORD'),
        from: target.from,
        to: target.to,
      }
    case 'other':
      return undefined
  }
}

/** @param databases by the name that they have in the config */
export async function exportBelongings(
  api: DokployApps,
  server: string,
  services: Readonly<Record<string, Service>>,
  databases: Readonly<Record<string, readonly Backup[]>>,
  registries: readonly Registry[],
  notifications: readonly Notification[],
): Promise<Belongings> {
  const left: string[] = []
  const [buckets, panelBackups] = await Promise.all([api.listBuckets(), api.listPanelBackups()])
  const volumes = await Promise.all(
    Object.entries(services).map(async ([app, { kind, id }]) => [app, await api.listVolumeBackups({ kind, id })] as const),
  )
  const common = (backup: Backup | VolumeBackup) => ({
    to: buckets.find(each => each.id === backup.bucketId)?.name ?? '',
    schedule: backup.schedule,
    keep: backup.keep,
    prefix: backup.prefix,
  })
  const backups: Section = {}
  const add = (name: string, entry: Section) => {
    if (Object.hasOwn(backups, name)) left.push(`backup ${name} on ${server}: another one has that name already`)
    else backups[name] = entry
  }
  for (const [database, list] of Object.entries(databases))
    for (const backup of list) add(slug(backup.prefix) || database, { database, ...common(backup) })
  for (const backup of panelBackups) add(slug(backup.prefix) || `${server}-panel`, { panel: server, ...common(backup) })
  for (const [app, list] of volumes)
    for (const backup of list) {
      const service = services[app]
      const volume = service && volumeCalled(service, backup.volume)
      if (volume === undefined)
        left.push(`backup ${backup.name} on ${server}: config.json has no word for its volume ${backup.volume}`)
      else add(backup.name, { app, volume, service: backup.service, stop: backup.stop || undefined, ...common(backup) })
    }
  return {
    registries: Object.fromEntries(
      registries.map(({ name, url, username, prefix }) => [
        name,
        { server, url, username, password_env: variableFor(name, 'PASSWORD'), ...(prefix === '' ? {} : { prefix }) },
      ]),
    ),
    buckets: Object.fromEntries(
      buckets.map(({ name, endpoint, region, bucket, provider }) => [
        name,
        {
          ...{ server, endpoint, region, bucket, provider },
          access_key_env: variableFor(name, 'ACCESS_KEY'),
          secret_key_env: variableFor(name, 'SECRET_KEY'),
        },
      ]),
    ),
    backups,
    notifications: Object.fromEntries(
      notifications
        .filter(each => !Object.values(services).some(service => each.name === callNameOf(service.name)))
        .flatMap(each => {
          const entry = notificationOf(each, server)
          if (!entry) left.push(`notification ${each.name}: its kind has no word in config.json`)
          return entry ? [[each.name, entry]] : []
        }),
    ),
    left,
  }
}
