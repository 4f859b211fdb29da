/** What each probe looks at. A probe reads, and says what it saw; what it can not see is `unknown`, which a person may answer. */

import { oldAnswersGoneAtMs, oldAnswersText } from '../cutover/observe.ts'
import { clockText } from '../cutover/ttl.ts'
import { hookRepository, isOurs, repositoryName } from '../steps/hook.ts'
import {
  all,
  allowedOrigin,
  fetchAt,
  fetched,
  findServer,
  first,
  INTERNAL_PORTS,
  isOpenToWorld,
  isPage,
  judgeCors,
  MAX_ROUTES,
  namesOf,
  no,
  PORT_TIMEOUT_MS,
  type ProbeContext,
  perApp,
  perName,
  perServer,
  perView,
  preflight,
  served,
  unknown,
  type Verdict,
  whyNoPage,
  yes,
} from './probe-kit.ts'

export type { ProbeContext, Verdict } from './probe-kit.ts'

const PANEL_PORT = 3000

export const PROBES = {
  'server runs': perServer((_context, name, server) =>
    server?.status === 'running'
      ? yes(`${name} runs at ${server.ipv4 ?? server.ipv6 ?? 'no address'} (${server.type}, ${server.location})`)
      : no(`${name} is ${server?.status ?? 'not there'}`),
  ),
  'dokploy is healthy': perServer(({ world }, name) => {
    const panel = world.panels[name]
    return panel?.state === 'up'
      ? yes(`Dokploy ${panel.version ?? ''} on ${name} is healthy`)
      : no(`${name}: ${panel?.why ?? 'not looked at'}`)
  }),
  'dokploy is ours': perServer(({ world }, name) => {
    const panel = world.panels[name]
    if (panel?.state !== 'up') return no(`${name}: ${panel?.why ?? 'not looked at'}`)
    return panel.admin === 'ours' ? yes(`the admin of ${name} is ours`) : no(`the admin of ${name} is ${panel.admin}`)
  }),
  'panel answers': perServer(async (context, name, server) => {
    const host = context.estate.servers.find(each => each.name === name)?.dokploy?.host
    if (!host || !server?.ipv4)
      return context.world.panels[name]?.state === 'up'
        ? yes(`the panel of ${name} answers through SSH`)
        : no(`${name} has no panel`)
    const page = await fetched(context, `https://${host}/api/health`, { address: server.ipv4 })
    return typeof page !== 'string' && page.status === 200
      ? yes(`https://${host} answers`)
      : no(typeof page === 'string' ? page : `https://${host} answers ${page.status}`)
  }),
  'ports are as wanted': perServer(async (context, name, server) => {
    const address = server?.ipv4
    if (!address) return no(`${name} has no address`)
    const { outside } = context
    const states = await Promise.all(
      [22, 80, 443].map(async port => [port, await outside.probePort(address, port, PORT_TIMEOUT_MS)] as const),
    )
    const shut = states.filter(([, state]) => state !== 'open').map(([port]) => port)
    if (shut.length > 0) return no(`${name}: port ${shut.join(', ')} does not answer`)
    if (isOpenToWorld(context, server.id, PANEL_PORT)) return no(`${name}: the firewall lets everybody reach port ${PANEL_PORT}`)
    return yes(`${name}: 22, 80, 443 answer, ${PANEL_PORT} is not open to the world`)
  }),

  'app exists': perApp((_context, app, service) =>
    yes(`${app.name} is ${service.kind === 'compose' ? 'a compose stack' : 'an application'} on ${app.server}`),
  ),
  'app has its source': perApp((_context, app, { source }) => {
    if (app.source.kind === 'image') return yes(`${app.name} runs an image, no repository is wanted`)
    return source.kind === 'github'
      ? yes(`${source.owner}/${source.repository}, branch ${source.branch}`)
      : source.kind === 'git'
        ? yes(`branch ${source.branch} of its repository`)
        : no(`the source of ${app.name} is ${source.kind}`)
  }),
  'app has its dockerfile': perApp((_context, app, service) => {
    if (app.source.kind !== 'build' || service.kind !== 'application') return yes(`${app.name} is not built from a Dockerfile`)
    const wanted = app.source.build.dockerfile
    return service.build.dockerfile === wanted || wanted === undefined
      ? yes(wanted ?? `built by ${service.build.type}`)
      : no(`${service.build.dockerfile ?? 'none'} instead of ${wanted}`)
  }),
  'app has its context': perApp((_context, app, service) => {
    if (app.source.kind !== 'build' || service.kind !== 'application') return yes(`${app.name} has no build context`)
    const wanted = app.source.build.context
    return service.build.context === wanted || wanted === undefined
      ? yes(wanted ?? 'the repository’s root')
      : no(`${service.build.context ?? 'none'} instead of ${wanted}`)
  }),
  'app has its domain': perApp((_context, app, service) => {
    const missing = app.domains.filter(wanted => !service.domains.some(domain => domain.host === wanted.host && domain.enabled))
    return missing.length === 0
      ? yes(app.domains.map(domain => domain.host).join(', '))
      : no(`${missing.map(domain => domain.host).join(', ')} is not configured`)
  }),
  'app has tls': perApp((_context, app, service) => {
    const plain = service.domains.filter(domain => domain.enabled && !domain.https)
    return plain.length === 0 && service.domains.length > 0
      ? yes(`every domain of ${app.name} has TLS`)
      : no(`${plain.map(domain => domain.host).join(', ') || app.name} has no TLS`)
  }),
  'app is deployed by pushes': perApp(({ world, estate }, app, service) => {
    if (app.deployOn === 'command') return yes(`${app.name} is deployed by command, as config.json says`)
    const auto = service.kind === 'compose' ? service.autoDeploy : service.settings.autoDeploy
    if (!auto) return no(`${app.name} does not deploy on pushes`)
    if (service.source.kind === 'github') return yes('through the GitHub App')
    const repository = hookRepository(app)
    if (!repository) return unknown(`${app.name} has no repository at GitHub whose webhooks could be looked at`)
    const name = repositoryName(repository)
    const seen = world.hooks[name]
    if (seen?.state !== 'seen') return unknown(`the token does not see the webhooks of ${name}`)
    return seen.hooks.some(hook => hook.active && isOurs(hook, estate.name, app.name))
      ? yes(`a webhook of ${name} deploys ${app.name}`)
      : no(`no webhook of ${name} deploys ${app.name}`)
  }),
  'last deploy succeeded': perApp((_context, app, { deployments }) => {
    const [last] = deployments
    if (!last) return no(`${app.name} was never deployed`)
    return last.status === 'done' ? yes(`deploy of ${last.createdAt}`) : no(`the deploy of ${last.createdAt} is ${last.status}`)
  }),
  'no source is mounted': perApp((_context, app, service) => {
    const binds = service.mounts.filter(mount => mount.type === 'bind')
    if (binds.length > 0) return no(`${app.name} mounts ${binds.map(mount => mount.path).join(', ')} from the host`)
    if (service.kind === 'compose' && service.source.kind !== 'raw') return unknown('the compose file is in the repository')
    if (service.kind !== 'compose') return yes(`${app.name} mounts nothing from the host`)
    const own = /^\s*-\s*["']?(?:\.{1,2}\/|\/(?!var\/run\/docker))[^:]*:/m.exec(service.file.reveal())
    return own
      ? no(`the compose file of ${app.name} mounts a path of the host`)
      : yes(`the compose file of ${app.name} mounts no path of the host`)
  }),
  'variables are set': perApp((_context, app, { env }) => {
    const blank = env.filter(([, value]) => value.reveal() === '').map(([name]) => name)
    if (env.length === 0) return app.envFile === undefined ? yes(`${app.name} wants none`) : no(`${app.name} has no variables`)
    return blank.length === 0 ? yes(`${env.length} variables`) : no(`blank: ${blank.join(', ')}`)
  }),
  'cache is handled after deploys': perApp((_context, app) =>
    app.postDeploy.action === 'none'
      ? no(`${app.name} has no post-deploy action in config.json`)
      : yes(`${app.name}: ${app.postDeploy.action}`),
  ),

  'new place answers': perName(async (context, { name, path, server }, { ipv4 = '' }) => {
    const page = await fetchAt(context, name, path, ipv4)
    return typeof page !== 'string' && served(page.status)
      ? yes(`${server} answers ${page.status} for ${name}`)
      : no(typeof page === 'string' ? page : `${server} answers ${page.status} for ${name}${path}`)
  }),
  'routes answer': perName(async (context, { name, routes }, { ipv4 = '' }) => {
    const answers = await Promise.all(
      routes.slice(0, MAX_ROUTES).map(async path => ({ path, page: await fetchAt(context, name, path, ipv4) })),
    )
    const bad = answers.filter(({ page }) => typeof page === 'string' || !served(page.status))
    return bad.length === 0
      ? yes(`${answers.length} paths of ${name}`)
      : no(bad.map(({ path, page }) => `${name}${path}: ${typeof page === 'string' ? page : page.status}`).join('; '))
  }),
  'cors allows the frontend': context => judgeCors(context, 'new place'),
  'calls pass in production': context => judgeCors(context, 'production'),
  'cors refuses strangers': async context => {
    const good = await judgeCors(context, 'new place')
    if (good.state !== 'yes') return good
    const backend = first(context.estate.migration?.names ?? [], 'backend')
    const page = await preflight(context, 'https://stranger.example', findServer(context, backend?.server ?? '')?.ipv4)
    if (typeof page === 'string') return no(page)
    const allowed = allowedOrigin(page)
    const credentials = page.headers['access-control-allow-credentials'] === 'true'
    if (allowed === 'https://stranger.example' || (allowed === '*' && credentials))
      return no(`https://${backend?.name} allows every origin, credentials included`)
    return yes(allowed === '*' ? 'every origin, without credentials' : 'other origins are not allowed')
  },

  'dns leads here': perName(async ({ outside, estate }, { name }, { ipv4 = '' }) => {
    const answers = await outside.askAuthoritative(estate.dns?.zone ?? '', name, 'A')
    const wrong = answers.find(answer => answer.status !== 'ok' || answer.values.join() !== ipv4)
    if (answers.length === 0) return no('no name server was found')
    return wrong
      ? no(`${wrong.server} answers ${wrong.values.join(', ') || wrong.status} for ${name}`)
      : yes(`${name} → ${ipv4}, at ${answers.length} name servers`)
  }),
  'old answers are gone': async context =>
    all(
      namesOf(context).map(({ name }) => {
        const move = context.world.moves[name]
        const goneAt = move && oldAnswersGoneAtMs(move)
        if (!move || goneAt === undefined) return no(`${name} is not switched by this estate`)
        return goneAt <= context.nowMs
          ? yes(`${name}: since ${clockText(goneAt, context.nowMs)}`)
          : no(oldAnswersText(move, context.nowMs))
      }),
      'config.json moves no name',
    ),
  'certificates are trusted': perName(async ({ outside }, { name }, { ipv4 = '' }) => {
    const tls = await outside.readTls(name, ipv4)
    return tls.state === 'trusted'
      ? yes(`${name}: ${tls.issuer ?? 'trusted'}, until ${tls.notAfter?.slice(0, 10) ?? '?'}`)
      : no(`${name}: ${tls.why ?? 'no certificate'}`)
  }),
  'names answer': perName(async (context, { name, path }) => {
    const page = await fetched(context, `https://${name}${path}`, {})
    return typeof page !== 'string' && served(page.status)
      ? yes(`https://${name} answers ${page.status}`)
      : no(typeof page === 'string' ? page : `https://${name}${path} answers ${page.status}`)
  }),
  'old host serves no more': async context =>
    all(
      await Promise.all(
        namesOf(context).map(async ({ name, path }) => {
          const move = context.world.moves[name]
          if (!move) return unknown(`where ${name} was before is not known here`)
          const addresses = move.oldAddresses.filter(each => !each.includes(':'))
          if (addresses.length === 0) return unknown(`no IPv4 address is known where ${name} was before`)
          const pages = await Promise.all(addresses.map(address => fetchAt(context, name, path, address)))
          return pages.some(page => typeof page !== 'string' && served(page.status))
            ? no(`the old host still serves ${name}`)
            : yes(`the old host serves ${name} no more`)
        }),
      ),
      'config.json moves no name',
    ),

  'alerts are configured': perView((name, { notifications }) =>
    notifications.length > 0 ? yes(`${name}: ${notifications.length} notifications`) : no(`${name} has no notification`),
  ),
  'backups are configured': context =>
    perView((name, view) => {
      const backups = [
        ...Object.values(view.volumeBackups).flat(),
        ...Object.values(view.databases).flatMap(each => each.backups),
      ].filter(each => each.enabled)
      return backups.length > 0
        ? yes(`${name}: ${backups.length} backups of databases and volumes`)
        : no(`${name} has no backup of a database or volume that is switched on`)
    })({ ...context, of: 'backend' }),

  'internal ports are closed': perServer(async (context, name, server) => {
    const address = server?.ipv4
    if (!address) return no(`${name} has no address`)
    const { outside } = context
    const states = await Promise.all(
      INTERNAL_PORTS.map(async port => [port, await outside.probePort(address, port, PORT_TIMEOUT_MS)] as const),
    )
    // The panel's port may be open to the administrator who runs this, and to nobody else.
    const mayBeOpen = (port: number) => port === PANEL_PORT && !isOpenToWorld(context, server.id, port)
    const open = states.filter(([port, state]) => state === 'open' && !mayBeOpen(port)).map(([port]) => port)
    return open.length === 0
      ? yes(`${name}: none of ${INTERNAL_PORTS.length} ports answers strangers`)
      : no(`${name}: port ${open.join(', ')} answers`)
  }),
  'pages hold no secret': perName(async (context, { name, routes }, { ipv4 = '' }) => {
    const patterns = context.estate.migration?.secretPatterns ?? []
    const pages = await Promise.all(
      routes.slice(0, MAX_ROUTES).map(async path => ({ path, page: await fetchAt(context, name, path, ipv4) })),
    )
    const found = pages.flatMap(({ path, page }) =>
      typeof page === 'string'
        ? []
        : patterns.filter(each => page.body.includes(each)).map(each => `${name}${path} shows ${each}`),
    )
    if (found.length > 0) return no(found.join('; '))
    const unread = pages.flatMap(({ path, page }) => (isPage(page) ? [] : [`${name}${path} (${whyNoPage(page)})`]))
    return unread.length > 0 ? unknown(`not read: ${unread.join(', ')}`) : yes(`${pages.length} pages of ${name}`)
  }),
  'servers are apart': async ({ estate }) => {
    const names = estate.migration?.names ?? []
    const [front, back] = (['frontend', 'backend'] as const).map(
      kind => new Set(names.filter(each => each.kind === kind).map(each => each.server)),
    )
    const shared = [...(front ?? [])].filter(each => back?.has(each))
    if (!front?.size || !back?.size) return unknown('config.json moves no frontend and backend')
    return shared.length === 0
      ? yes(`${[...front].join(', ')} and ${[...back].join(', ')}`)
      : no(`${shared.join(', ')} serves both`)
  },
} as const satisfies Record<string, (context: ProbeContext) => Promise<Verdict>>

export type ProbeName = keyof typeof PROBES
