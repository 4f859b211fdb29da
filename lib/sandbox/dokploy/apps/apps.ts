/** Everything that lives in a simulated Dokploy, joined: the table of its routes, and the levers of a test. */

import { parse } from 'dotenv'
import type { Store } from '../../kit.ts'
import type { Context, Routes } from '../router.ts'
import { randomText } from '../state.ts'
import { applicationRoutes } from './application-routes.ts'
import { composeRoutes } from './compose-routes.ts'
import { databaseTable } from './database-routes.ts'
import { deploymentRoutes, taskLog } from './deployment-routes.ts'
import { headOf, parseImage, push, repositoryKey, sha256 } from './images.ts'
import { settle } from './jobs.ts'
import { notificationTable } from './notification-routes.ts'
import { operationRoutes } from './operation-routes.ts'
import {
  type Behaviour,
  type ExecRow,
  type ObjectRow,
  type OutgoingRow,
  openPlatform,
  type TimingRow,
  type WireRow,
} from './rows.ts'
import { DEFAULT_TIMING, respond, serving } from './runtime.ts'
import { projectRoutes } from './service-routes.ts'

export const appRoutes: Routes = {
  ...projectRoutes,
  ...applicationRoutes,
  ...composeRoutes,
  ...deploymentRoutes,
  ...operationRoutes,
  ...databaseTable,
  ...notificationTable,
}

export interface AppsControl {
  /** Brings queue and containers up to now. */
  settle(): void
  /** The answer of the container behind "app-abc123:3000"; 'closed' when nothing listens there, undefined when no app is meant. */
  answer(upstream: string, path: string): Response | 'closed' | undefined
  setTiming(timing: Partial<TimingRow>): void
  /** What a tag of the simulated registry points at from now on. */
  setImage(ref: string, image: { version?: string; behaviour?: Behaviour }): void
  /** A commit on a branch; answers with its hash. */
  push(
    url: string,
    branch: string,
    commit?: { behaviour?: Behaviour; message?: string; files?: Readonly<Record<string, string>> },
  ): string
  addSshKey(name: string): void
  addGithubApp(name: string): void
  /** Somebody changes a row in the panel. */
  edit(serviceName: string, columns: Readonly<Record<string, unknown>>): void
  /** Somebody switches a domain off or on in the panel. */
  toggleDomain(host: string): void
  /** Somebody makes a second service of that name. */
  copy(serviceName: string): void
  damageBackups(): void
  /** As if every backup had been made on this day, like "2026-01-31". */
  dateBackups(day: string): void
  /** Files of somebody else's, beside the backups. */
  fillBucket(endpoint: string, bucket: string, files: number): void
  execs(): readonly ExecRow[]
  outgoing(): readonly OutgoingRow[]
  /** What a container of this app was started with. */
  envInside(serviceName: string): Readonly<Record<string, string>> | undefined
  /** An object of a simulated bucket. */
  object(endpoint: string, bucket: string, key: string): ObjectRow | undefined
  /** What `docker tag` on the machine does: the app's image is this one again. */
  retag(appName: string, imageId: string, action: 'keep' | 'restore'): 'present' | 'absent'
  /** References under which registries have an image of the machine; undefined when it is not there. */
  digests(image: string): readonly string[] | undefined
  /** What Docker on the machine keeps of a task's output; undefined when there is no such task. */
  taskLog(id: string, lines: number): string | undefined
  dump(): unknown
}

export const createPlatform = (store: Store, serverId: string): Pick<Context, 'platform' | 'envOf'> => {
  const platform = openPlatform(store, serverId)
  return { platform, envOf: service => parse(typeof service.columns.env === 'string' ? service.columns.env : '') }
}

/** Labels of containers are not files, but lead to routes as files do. */
const labelFile = (appName: string): string => `@docker/${appName}.yml`

export const createAppsControl = (context: Context): AppsControl => {
  const { platform, clock } = context
  const effects = { setLabels: (appName: string, file: string | undefined) => context.writeDynamic(labelFile(appName), file) }
  const bringUp = () => settle(platform, clock.nowMs(), effects)

  return {
    settle: bringUp,
    answer(upstream, path) {
      const colon = upstream.lastIndexOf(':')
      const id = upstream.slice(0, colon)
      if (!platform.services.all().some(row => id === row.appName || id.startsWith(`${row.appName}.`))) return undefined
      bringUp()
      const release = serving(platform.runs.get(id), Number(upstream.slice(colon + 1)))
      return release ? respond(release, path) : 'closed'
    },
    setTiming(timing) {
      platform.timing.put('only', { ...(platform.timing.get('only') ?? DEFAULT_TIMING), ...timing })
    },
    setImage(ref, { version, behaviour = 'healthy' }) {
      const { name, tag } = parseImage(ref)
      const of = version ?? tag
      const digest = `sha256:${sha256(`${name}:${tag} ${of} ${behaviour}`)}`
      push(platform, `${name}:${tag}`, { name, digest, version: of, behaviour })
    },
    push(url, branch, { behaviour, message, files } = {}) {
      const before = headOf(platform, url, branch)
      const commit = sha256(`${before.id} ${before.commit}`).slice(0, 40)
      const id = `${repositoryKey(url)}#${branch}`
      platform.heads.put(id, {
        id,
        commit,
        message: message ?? 'Change things',
        behaviour: behaviour ?? 'healthy',
        files: files ?? before.files,
      })
      return commit
    },
    addSshKey(name) {
      const sshKeyId = randomText(21)
      platform.sshKeys.put(sshKeyId, { sshKeyId, name, privateKey: 'PRIVATE', publicKey: 'ssh-ed25519 AAAA' })
    },
    addGithubApp(name) {
      const githubId = randomText(21)
      platform.githubApps.put(githubId, { githubId, githubAppName: name, githubPrivateKey: 'PRIVATE' })
    },
    edit(serviceName, columns) {
      for (const row of platform.services.all().filter(each => each.name === serviceName))
        platform.services.put(row.id, { ...row, columns: { ...row.columns, ...columns } })
    },
    toggleDomain(host) {
      for (const row of platform.domains.all().filter(each => each.host === host))
        platform.domains.put(String(row.domainId), { ...row, enabled: row.enabled === false })
    },
    copy(serviceName) {
      for (const row of platform.services.all().filter(each => each.name === serviceName)) {
        const id = randomText(21)
        platform.services.put(id, { ...row, id, appName: `${row.appName}x` })
      }
    },
    damageBackups() {
      for (const row of platform.objects.all()) platform.objects.put(row.id, { ...row, damaged: true })
    },
    fillBucket(endpoint, bucket, files) {
      for (let n = 0; n < files; n++) {
        const key = `somebody-else/${String(n).padStart(40, '0')}.jpg`
        const id = `${endpoint}/${bucket}/${key}`
        platform.objects.put(id, { id, key, bytes: 1, kind: 'file', damaged: false })
      }
    },
    dateBackups(day) {
      for (const row of platform.objects.all()) {
        platform.objects.delete(row.id)
        const dated = (text: string) => text.replace(/\d{4}-\d\d-\d\d(?=T)/, day)
        platform.objects.put(dated(row.id), { ...row, id: dated(row.id), key: dated(row.key) })
      }
    },
    execs: () => platform.execs.all(),
    outgoing: () => platform.outgoing.all(),
    envInside(serviceName) {
      bringUp()
      const service = platform.services.all().find(row => row.name === serviceName)
      return service && platform.runs.get(service.appName)?.current?.env
    },
    object: (endpoint, bucket, key) => platform.objects.get(`${endpoint}/${bucket}/${key}`),
    retag(appName, imageId, action) {
      const run = platform.runs.get(appName)
      const used = [run?.current, run?.next].find(release => release?.digest === imageId)
      // What has no name and runs nowhere was pruned.
      const found = platform.localImages.all().find(row => row.digest === imageId) ?? used
      if (!found) return 'absent'
      const { digest, version, behaviour } = found
      const id = action === 'keep' ? `landfall-kept/${appName}:last-good` : `${appName}:latest`
      platform.localImages.put(id, { id, name: appName, digest, version, behaviour })
      return 'present'
    },
    digests(image) {
      const { name, tag } = parseImage(image)
      const named = () => platform.localImages.get(image) ?? platform.images.get(`${name}:${tag}`)
      const id = image.startsWith('sha256:') ? image : named()?.digest
      const rows = platform.images.all().filter(row => row.digest === id)
      const here = rows.length > 0 || platform.localImages.all().some(row => row.digest === id)
      return here ? [...new Set(rows.map(row => `${row.name}@${row.digest}`))] : undefined
    },
    taskLog: (id, lines) => {
      bringUp()
      return taskLog(context, id, lines)
    },
    dump: () => {
      bringUp()
      const services = platform.services.all()
      const nameOf = (row: WireRow) => services.find(each => Object.values(row).includes(each.id))?.name
      return {
        services: services.map(row => {
          const run = platform.runs.get(row.appName)
          return {
            name: row.name,
            kind: row.kind,
            appName: row.appName,
            serving: run?.current?.version,
            starting: run?.next?.version,
            failures: run?.failed.length ?? 0,
            variables: Object.keys(context.envOf(row)),
          }
        }),
        projects: platform.projects.all().map(row => row.name),
        environments: platform.environments.all().map(row => row.name),
        domains: platform.domains
          .all()
          .map(row => ({ host: row.host, path: row.path, port: row.port, https: row.https, of: nameOf(row) })),
        mounts: platform.mounts.all().map(row => ({ path: row.mountPath, of: nameOf(row) })),
        schedules: platform.schedules.all().map(row => ({ name: row.name, of: nameOf(row) })),
        destinations: platform.destinations.all().map(row => row.name),
        backups: platform.backups.all().map(row => ({ prefix: row.prefix, database: row.database, of: nameOf(row) })),
        volumeBackups: platform.volumeBackups.all().map(row => ({ name: row.name, of: nameOf(row) })),
        notifications: platform.notifications.all().map(row => row.name),
      }
    },
  }
}
