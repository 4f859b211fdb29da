/** The part of the checks that is about applications and what belongs to them. */

import type { Say } from './check.ts'
import { isInCluster } from './cluster.ts'
import { projectOf } from './derive.ts'
import { type AppConfig, DEFAULT_PORT, dokployGroupsOf, isShared, platformOf, serverNamed } from './derive-apps.ts'
import type { Path } from './json.ts'
import type { Config } from './schema.ts'
import { didYouMean, listed, quoted } from './words.ts'

/** Variables that open the estate itself: no other service is given one. */
const OWN_VARIABLES = ['HCLOUD_TOKEN', 'CLOUDFLARE_API_TOKEN', 'DIGITALOCEAN_TOKEN', 'GITHUB_TOKEN', 'VERCEL_TOKEN']

const checkServer = (config: Config, path: Path, wanted: string | undefined, say: Say) => {
  if (path[0] === 'apps' && isInCluster(config, { server: wanted })) return
  const groups = dokployGroupsOf(config)
  const names = [...new Set(groups.flatMap(group => [group.role, group.name]))]
  const causes: Path[] = [['hetzner', 'server_types'], ['servers']]
  if (wanted === undefined) {
    if (groups.length === 0) say(path, 'lives in Dokploy, but no server runs it', ...causes)
    else if (groups.length > 1) say([...path, 'server'], `is missing: say which of ${listed(names, 'or')}`, [...path, 'server'])
  } else if (serverNamed(config, wanted) === undefined)
    say([...path, 'server'], `names ${quoted(wanted)}, which is no server with Dokploy${didYouMean(wanted, names)}`, ...causes)
}

/** One of `table`'s names, or a mistake with the nearest. */
const checkName = (path: Path, wanted: string | undefined, section: string, table: object | undefined, say: Say): boolean => {
  const names = Object.keys(table ?? {})
  if (wanted === undefined || names.includes(wanted)) return wanted !== undefined
  say(path, `names ${quoted(wanted)}, which is not among ${section}${didYouMean(wanted, names)}`, [section])
  return false
}

const checkVariable = (path: Path, name: string | undefined, needed: boolean, say: Say) => {
  if (name === undefined) {
    if (needed) say(path, 'is missing: name the variable that holds it, the value never stands in this file', path)
  } else if (OWN_VARIABLES.includes(name)) say(path, `must not be ${name}: that opens the estate itself`)
}

const checkSource = (path: Path, app: AppConfig, say: Say) => {
  const at = [...path, 'source']
  const { github, git, image, branch, watch, path: folder, ssh_key: sshKey } = app.source ?? {}
  const given = Object.entries({ github, git, image }).flatMap(([name, value]) => (value === undefined ? [] : [name]))
  const causes = ['github', 'git', 'image'].map(name => [...at, name])
  if (given.length > 1) say(at, `names ${listed(given)}: it comes from one of them`)
  if (given.length === 0 && app.compose === undefined)
    say(at, 'is missing: say where it comes from, with github, git or image', at, [...path, 'compose'], ...causes)
  if (image !== undefined && app.compose !== undefined)
    say([...at, 'image'], 'is not used by a compose stack, whose file names its images', [...path, 'compose'])
  if (folder !== undefined && app.compose !== undefined)
    say([...at, 'path'], 'is not used by a compose stack: compose.file says where it lies', [...path, 'compose'])
  if (image !== undefined && app.build !== undefined) say([...path, 'build'], 'builds nothing: source names a finished image')
  if (app.compose !== undefined && app.build !== undefined)
    say([...path, 'build'], 'builds nothing: a compose file says itself how its services are built')
  if (app.compose !== undefined && app.compose.file === undefined)
    say([...path, 'compose', 'file'], 'is missing', [...path, 'compose', 'file'])
  const repository = github !== undefined || git !== undefined
  if (!repository)
    for (const [name, value] of Object.entries({ branch, watch, path: folder, ssh_key: sshKey }))
      if (value !== undefined) say([...at, name], 'needs a repository: github or git', ...causes)
  if (git !== undefined && !git.startsWith('https://') && sshKey === undefined)
    say([...at, 'ssh_key'], 'is missing: Dokploy clones that address with a key', [...at, 'ssh_key'])
  if (!repository && app.deploy_on === 'push' && image === undefined)
    say([...path, 'deploy_on'], 'is "push", but there is no repository to push to', at, ...causes)
}

const checkBuild = (path: Path, app: AppConfig, say: Say) => {
  const { type, dockerfile, stage, context, publish, spa } = app.build ?? {}
  const at = [...path, 'build']
  const kind = type ?? (dockerfile === undefined ? 'nixpacks' : 'dockerfile')
  for (const [name, value] of Object.entries({ dockerfile, stage, context }))
    if (value !== undefined && kind !== 'dockerfile') say([...at, name], `is not used by ${kind}`, [...at, 'type'])
  if (publish !== undefined && kind !== 'static' && kind !== 'nixpacks')
    say([...at, 'publish'], `is not used by ${kind}`, [...at, 'type'])
  if (spa !== undefined && kind !== 'static') say([...at, 'spa'], `is not used by ${kind}`, [...at, 'type'])
}

const checkDomains = (path: Path, name: string, app: AppConfig, taken: Map<string, string>, say: Say) => {
  for (const [index, domain] of (app.domains ?? []).entries()) {
    const at = [...path, 'domains', index]
    if (domain.host === undefined) {
      say([...at, 'host'], 'is missing', [...at, 'host'], [...path, 'domains'])
      continue
    }
    const key = `${domain.host}${domain.path ?? '/'}`
    const other = taken.get(key)
    if (other !== undefined) say([...at, 'host'], `is ${domain.host}, which ${other} answers already`)
    taken.set(key, `apps.${name}`)
    if (app.compose !== undefined && domain.service === undefined)
      say([...at, 'service'], 'is missing: which service of the compose file answers', [...at, 'service'])
    if (app.compose === undefined && domain.service !== undefined)
      say([...at, 'service'], 'is not used: only a compose stack has services', [...path, 'compose'])
    if (domain.resolver !== undefined && domain.certificate !== 'custom')
      say([...at, 'resolver'], 'needs certificate "custom"', [...at, 'certificate'])
    if (domain.https === false && domain.certificate !== undefined && domain.certificate !== 'none')
      say([...at, 'certificate'], 'is not used without https')
  }
}

const checkRunning = (path: Path, app: AppConfig, say: Say) => {
  if (app.compose !== undefined)
    for (const [name, value] of Object.entries({
      health: app.health,
      replicas: app.replicas,
      memory_mb: app.memory_mb,
      volumes: app.volumes,
      registry: app.registry,
    }))
      if (value !== undefined) say([...path, name], 'stands in the compose file of a compose stack')
  const { none, path: urlPath, command } = app.health ?? {}
  if (none === true && (urlPath !== undefined || command !== undefined))
    say([...path, 'health', 'none'], 'is true, yet the group says what to check')
  if (urlPath !== undefined && command !== undefined) say([...path, 'health', 'path'], 'is not used beside command')
  if (app.version?.header !== undefined && app.version.path !== undefined)
    say([...path, 'version'], 'names header and path: one of them shows the version')
}

const checkPostDeploy = (path: Path, app: AppConfig, say: Say) => {
  const { action, pattern, command, service, url_env: url } = app.post_deploy ?? {}
  const at = [...path, 'post_deploy']
  checkVariable([...at, 'url_env'], url, false, say)
  if (action === undefined) return app.post_deploy && say([...at, 'action'], 'is missing', [...at, 'action'])
  if ((action === 'selective') !== (pattern !== undefined))
    say([...at, 'pattern'], action === 'selective' ? 'is missing' : `is not used by ${action}`, [...at, 'pattern'])
  if ((action === 'command') !== (command !== undefined))
    say([...at, 'command'], action === 'command' ? 'is missing' : `is not used by ${action}`, [...at, 'command'])
  const acts = action === 'flush' || action === 'selective' || action === 'command'
  if (url !== undefined && !acts) say([...at, 'url_env'], `is not used by ${action}`)
  if (service !== undefined && (app.compose === undefined || !acts))
    say(
      [...at, 'service'],
      app.compose === undefined ? 'is not used: only a compose stack has services' : `is not used by ${action}`,
    )
  if ((action === 'flush' || action === 'selective') && app.compose === undefined && url === undefined)
    say(at, `has no cache to reach: an application's ${action} needs url_env, a URL of the app that does it`, [
      ...path,
      'compose',
    ])
  const pushes =
    app.deploy_on === 'push' || (app.deploy_on === undefined && (app.source?.github ?? app.source?.git) !== undefined)
  if (acts && url === undefined && pushes && app.compose?.type === 'stack')
    say(
      at,
      'cannot run after a push: Dokploy runs nothing after a deploy of the type "stack"; use url_env, the type "docker-compose", or deploy_on "command"',
      [...path, 'deploy_on'],
      [...path, 'compose', 'type'],
    )
  if (acts && url === undefined && pushes && app.compose === undefined && action === 'command')
    say(at, 'cannot run after a push: use url_env, or deploy_on "command"', [...path, 'deploy_on'])
}

const checkBackups = (config: Config, say: Say) => {
  for (const [name, backup] of Object.entries(config.backups ?? {})) {
    const path = ['backups', name]
    const given = Object.entries({ database: backup.database, app: backup.app, panel: backup.panel }).flatMap(([key, value]) =>
      value === undefined ? [] : [key],
    )
    const causes = ['database', 'app', 'panel'].map(key => [...path, key])
    if (given.length !== 1)
      say(
        path,
        given.length === 0 ? 'saves nothing: name a database, an app or a panel' : `names ${listed(given)}: one of them`,
        ...causes,
      )
    if (checkName([...path, 'database'], backup.database, 'databases', config.databases, say)) {
      if (config.databases?.[backup.database ?? '']?.kind === 'redis')
        say([...path, 'database'], 'is a redis, which has no dump: Dokploy saves only volumes of it')
    }
    checkName([...path, 'app'], backup.app, 'apps', config.apps, say)
    const app = backup.app === undefined ? undefined : config.apps?.[backup.app]
    if (backup.app !== undefined && backup.volume === undefined) say([...path, 'volume'], 'is missing', [...path, 'volume'])
    if (backup.volume !== undefined && app !== undefined && app.compose === undefined)
      checkName([...path, 'volume'], backup.volume, `apps.${backup.app}.volumes`, app.volumes, say)
    const atService = [...path, 'service']
    if (app?.compose !== undefined && backup.stop === true && backup.service === undefined)
      say(atService, 'is missing: which service of the compose file stops meanwhile', atService, [...path, 'stop'])
    if (backup.service !== undefined && app?.compose === undefined)
      say(atService, 'is not used: only a compose stack has services', [...path, 'app'])
    if (backup.panel !== undefined)
      checkServer(config, [...path], backup.panel, (at, says, ...because) =>
        say(at.at(-1) === 'server' ? [...path, 'panel'] : at, says, ...because),
      )
    if (backup.to === undefined && Object.keys(config.buckets ?? {}).length !== 1)
      say([...path, 'to'], 'is missing: name one of buckets', [...path, 'to'], ['buckets'])
    checkName([...path, 'to'], backup.to, 'buckets', config.buckets, say)
  }
}

const checkNotifications = (config: Config, say: Say) => {
  for (const [name, notification] of Object.entries(config.notifications ?? {})) {
    const path = ['notifications', name]
    checkServer(config, path, notification.server, say)
    const { kind } = notification
    if (kind === undefined) {
      say([...path, 'kind'], 'is missing', [...path, 'kind'])
      continue
    }
    checkVariable([...path, 'url_env'], notification.url_env, kind !== 'email', say)
    checkVariable([...path, 'password_env'], notification.password_env, kind === 'email', say)
    if (kind === 'email')
      for (const key of ['smtp_server', 'username', 'from', 'to'] as const)
        if (notification[key] === undefined) say([...path, key], 'is missing', [...path, key])
  }
}

/** Every mistake about applications. */
export const checkApps = (config: Config, say: Say): void => {
  const taken = new Map<string, string>()
  for (const [name, app] of Object.entries(config.apps ?? {})) {
    const path = ['apps', name]
    checkServer(config, path, app.server, say)
    checkSource(path, app, say)
    checkBuild(path, app, say)
    checkDomains(path, name, app, taken, say)
    checkRunning(path, app, say)
    checkPostDeploy(path, app, say)
    checkName([...path, 'registry'], app.registry, 'registries', config.registries, say)
    if (app.registry === undefined && isShared(config, app))
      say(
        [...path, 'registry'],
        `is missing: ${name} is built on ${serverNamed(config, app.server)}, and the workers of its swarm run only what they can pull`,
        [...path, 'registry'],
        [...path, 'source'],
      )
    if (app.port === undefined && app.compose === undefined && app.build?.type === 'static')
      say([...path, 'port'], `is missing: a static site listens on 80, not on ${DEFAULT_PORT}`, [...path, 'port'])
  }
  for (const [name, database] of Object.entries(config.databases ?? {}))
    checkServer(config, ['databases', name], database.server, say)
  for (const [name, registry] of Object.entries(config.registries ?? {})) {
    const path = ['registries', name]
    checkServer(config, path, registry.server, say)
    for (const key of ['url', 'username'] as const)
      if (registry[key] === undefined) say([...path, key], 'is missing', [...path, key])
    checkVariable([...path, 'password_env'], registry.password_env, true, say)
  }
  for (const [name, bucket] of Object.entries(config.buckets ?? {})) {
    const path = ['buckets', name]
    checkServer(config, path, bucket.server, say)
    for (const key of ['endpoint', 'bucket'] as const)
      if (bucket[key] === undefined) say([...path, key], 'is missing', [...path, key])
    checkVariable([...path, 'access_key_env'], bucket.access_key_env, true, say)
    checkVariable([...path, 'secret_key_env'], bucket.secret_key_env, true, say)
  }
  checkBackups(config, say)
  checkNotifications(config, say)
  checkTwins(config, say)
}

/** Dokploy finds by name inside an environment: a database and an app of one name there could not be told apart. */
const checkTwins = (config: Config, say: Say) => {
  const { apps, databases } = platformOf(config)
  const place = (at: { server: string; project: string; environment: string; name: string }) =>
    `${at.server} ${at.project} ${at.environment} ${at.name}`
  const seen = new Set(apps.map(place))
  for (const database of databases)
    if (seen.has(place(database)) && projectOf(config) !== undefined)
      say(['databases', database.name], `has the name of apps.${database.name}, in the same environment`)
}
