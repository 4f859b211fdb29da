/**
 * The restore drill. Dokploy's own restore is no REST call (facts/dokploy 14), and a drill must not touch what lives: so the newest backup is
 * read out of its bucket on the server, with the rclone inside Dokploy's container, and restored into a throw-away database without a
 * network. A volume's archive is listed to its end, and the panel's is tested and looked through for its dump and key.
 */

import { World } from '../engine/world.ts'
import { hasCode, LandfallError } from '../errors.ts'
import type { BackupSpec } from '../estate/apps.ts'
import { didYouMean, quoted } from '../estate/words.ts'
import type { Server } from '../providers/ports/cloud.ts'
import { hasFlag, type Session } from '../script.ts'
import { type AppsView, matchesOf, openPanel, platformFor, SERVICE_KINDS } from '../steps/app-world.ts'
import { parseFactLines, runProgram } from '../steps/machine.ts'
import { findServer } from '../steps/server.ts'
import { isOverdue, newestFile } from './backup-files.ts'
import { type OpenedApps, openApps } from './open.ts'
import { summarise } from './session.ts'

interface Subject {
  readonly kind: 'postgres' | 'mysql' | 'mariadb' | 'mongo' | 'volume' | 'panel'
  readonly backupId: string
  /** Folder in the bucket, with a slash at its end. */
  readonly folder: string
  /** What restores it; empty where nothing has to run. */
  readonly image: string
}

/** Dokploy's own folders: the service's name there, then the prefix. Pure. */
export function subjectOf(spec: BackupSpec, deps: Pick<OpenedApps['deps'], 'estate'>, view: AppsView): Subject | undefined {
  const { what } = spec
  const platform = platformFor(deps)
  const prefix = spec.prefix.replace(/^\/+|\/+$/g, '')
  if (what.kind === 'panel') {
    const backup = view.panelBackups.find(each => each.prefix === spec.prefix)
    return backup && { kind: 'panel', backupId: backup.id, folder: `${backup.appName}/${prefix}/`, image: '' }
  }
  if (what.kind === 'database') {
    const wanted = platform.databases.find(each => each.name === what.database)
    const database = wanted && view.databases[matchesOf(view, wanted, wanted.name, [wanted.kind])[0]?.id ?? '']
    const backup = database?.backups.find(each => each.prefix === spec.prefix)
    if (!database || !backup || database.kind === 'redis') return undefined
    return { kind: database.kind, backupId: backup.id, folder: `${database.appName}/${prefix}/`, image: database.image }
  }
  const app = platform.apps.find(each => each.name === what.app)
  const service = app && view.services[matchesOf(view, app, app.name, SERVICE_KINDS)[0]?.id ?? '']
  const backup = service && view.volumeBackups[service.id]?.find(each => each.name === spec.name)
  if (!backup) return undefined
  const owner =
    service.kind === 'compose' && backup.service !== undefined ? `${service.appName}_${backup.service}` : service.appName
  return { kind: 'volume', backupId: backup.id, folder: `${owner}/${prefix}/`, image: '' }
}

export interface Proof {
  readonly backup: string
  readonly file: string
  readonly bytes: number
  readonly items: number
  /** `overdue`: its schedule should have made another since. */
  readonly age: 'as scheduled' | 'overdue'
  readonly key?: 'present' | 'absent'
}

async function drillOne(
  session: Session,
  apps: OpenedApps,
  view: AppsView,
  spec: BackupSpec,
  servers: readonly Server[],
  onMade: () => void,
): Promise<Proof> {
  const { deps } = apps
  const panel = await openPanel(deps, findServer(deps.estate.name, spec.server, servers))
  const subject = subjectOf(spec, deps, view)
  const bucket = view.buckets.find(each => each.name === spec.bucket)
  if (!panel || !subject || !bucket)
    throw new LandfallError('not_found', `Backup ${spec.name} is not set up in Dokploy yet.`, { hint: 'bun scripts/app.ts' })
  const newest = () => newestFile(panel.api, bucket.id, subject.folder, deps.clock.nowMs())
  const isMadeNow = hasFlag(session, 'now')
  const before = isMadeNow ? await newest() : undefined
  if (isMadeNow) {
    session.reporter.log(`making a backup: ${spec.name}`)
    await panel.api.runBackup({ kind: subject.kind, id: subject.backupId })
  }
  const file = await newest()
  // Dokploy calls a backup made that was not: a new file is the proof.
  if (isMadeNow && (!file || file.path === before?.path))
    throw new LandfallError(
      'unhealthy',
      `Dokploy made no new file for backup ${spec.name} in ${bucket.bucket}/${subject.folder}.`,
      {
        hint: `See why in Dokploy on ${spec.server}, in the log of the backup's last run.`,
      },
    )
  if (isMadeNow) onMade()
  if (!file)
    throw new LandfallError('unhealthy', `Backup ${spec.name} has no file in ${bucket.bucket}/${subject.folder} yet.`, {
      hint: `Make one now: bun scripts/backup.ts drill ${spec.name} --now`,
    })
  session.reporter.log(`reading ${file.path}`)
  const text = await runProgram(
    deps,
    panel.target,
    'drill-backup',
    {
      KIND: subject.kind,
      IMAGE: subject.image,
      BUCKET: bucket.bucket,
      KEY: file.path,
      BYTES: String(file.bytes),
      ENDPOINT: bucket.endpoint,
      REGION: bucket.region,
      PROVIDER: bucket.provider,
      ACCESS_KEY: bucket.accessKey,
      SECRET_KEY: bucket.secretKey,
    },
    session.signal,
  )
  const facts = parseFactLines(text)
  if (facts.ok !== '1') throw new LandfallError('unhealthy', `Backup ${spec.name} could not be restored.`)
  if (facts.key === 'absent')
    throw new LandfallError(
      'unhealthy',
      `Backup ${spec.name} of the panel lacks its encryption key: a panel restored from it could not read its secrets.`,
      {
        hint: 'bun scripts/app.ts  (it sets the key to be included), then a new backup: bun scripts/backup.ts drill --now',
      },
    )
  return {
    backup: spec.name,
    file: file.path,
    bytes: Number(facts.bytes ?? 0),
    items: Number(facts.items ?? 0),
    age: file.madeAtMs !== undefined && isOverdue(spec.schedule, file.madeAtMs, deps.clock.nowMs()) ? 'overdue' : 'as scheduled',
    ...(facts.key === 'present' ? { key: 'present' } : {}),
  }
}

const ITEMS = { database: 'tables or collections', volume: 'files', panel: 'entries, with dump and key' } as const

const verdictOf = (drilled: number, failures: number): string => {
  if (drilled === 0) return 'config.json has no backups.'
  if (failures > 0) return `${failures} of ${drilled} ${drilled === 1 ? 'backup' : 'backups'} did not pass.`
  return drilled === 1 ? 'The backup is recent and can be restored.' : `All ${drilled} backups are recent and can be restored.`
}

/** Drills the named backups, or all. Exit code 1 when one cannot be restored, or is older than its schedule. */
export async function runDrill(session: Session): Promise<number> {
  const opened = await session.open()
  const apps = openApps({ ...session, args: { ...session.args, names: [] } }, opened)
  const platform = platformFor(apps.deps)
  const wanted = session.args.names
  const known = platform.backups.map(each => each.name)
  for (const name of wanted)
    if (!known.includes(name))
      throw new LandfallError('usage', `The estate has no backup ${quoted(name)}${didYouMean(name, known) || '.'}`, {
        hint: `It has: ${known.join(', ') || 'none'}.`,
      })
  const specs = platform.backups.filter(each => wanted.length === 0 || wanted.includes(each.name))
  const world = new World(apps.opened.composition.readers)
  await world.look(['servers', 'panels', 'apps'])
  const outputs: Record<string, string> = {}
  let failures = 0
  let made = 0
  for (const spec of specs) {
    const view = world.get('apps')[spec.server]
    try {
      if (view?.state !== 'open')
        throw new LandfallError('not_found', `Dokploy on ${spec.server} cannot be asked: ${view?.why ?? 'it is not there'}.`)
      const proof = await drillOne(session, apps, view, spec, world.get('servers'), () => {
        made += 1
      })
      const restored = `${proof.items} ${ITEMS[spec.what.kind]} out of ${proof.bytes} bytes (${proof.file})`
      outputs[spec.name] = `restored${proof.age === 'overdue' ? ', but OVERDUE' : ''}: ${restored}`
      if (proof.age === 'overdue')
        throw new LandfallError(
          'unhealthy',
          `Backup ${spec.name} has no newer file than ${proof.file}, though its schedule is ${spec.schedule}.`,
          {
            hint: `See why in Dokploy on ${spec.server}, under the backup's deployments; or make one now: bun scripts/backup.ts drill ${spec.name} --now`,
          },
        )
    } catch (error) {
      if (!hasCode(error, 'vendor', 'unhealthy', 'not_found', 'timeout')) throw error
      failures += 1
      session.reporter.error(error)
      outputs[spec.name] ??= 'NOT restored'
    }
  }
  summarise(
    { session, opened },
    {
      ok: failures === 0,
      title: verdictOf(specs.length, failures),
      changes: made,
      applied: made,
      outputs,
      notes: [
        {
          label: 'limits',
          text: 'The drill proves that the newest backup can be read and restored; not that its content is what you hope for, and not the way back of a whole server.',
        },
      ],
    },
  )
  return failures === 0 ? 0 : 1
}
