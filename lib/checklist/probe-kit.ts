/** What probes are made of: verdicts, and one look for each server, name or application. */

import { hasCode } from '../errors.ts'
import type { AppSpec } from '../estate/apps.ts'
import type { Estate } from '../estate/estate.ts'
import type { MovingName } from '../estate/migration.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Service } from '../providers/ports/dokploy-apps.ts'
import type { Outside, Page } from '../providers/ports/outside.ts'
import type { AppsView } from '../steps/app-world.ts'
import type { EstateWorld } from '../steps/world.ts'

export interface Verdict {
  readonly state: 'yes' | 'no' | 'unknown'
  /** What was seen, in one sentence. */
  readonly evidence: string
}

export interface ProbeContext {
  readonly estate: Estate
  readonly world: Pick<EstateWorld, 'servers' | 'firewalls' | 'panels' | 'apps' | 'hooks' | 'moves'>
  readonly outside: Outside
  readonly nowMs: number
  readonly of?: 'frontend' | 'backend'
}

export const yes = (evidence: string): Verdict => ({ state: 'yes', evidence })
export const no = (evidence: string): Verdict => ({ state: 'no', evidence })
export const unknown = (evidence: string): Verdict => ({ state: 'unknown', evidence })

/** Internal services of such a stack: SSH-less databases, caches, vault, metrics, panels, swarm. */
export const INTERNAL_PORTS = [2375, 2377, 3000, 3306, 5432, 5672, 6379, 7946, 8200, 9090, 27017] as const
export const PORT_TIMEOUT_MS = 1_500
export const MAX_ROUTES = 50

/** The first answer that is not a yes counts; several yeses are one. */
export const all = (verdicts: readonly Verdict[], none: string): Verdict =>
  verdicts.find(each => each.state === 'no') ??
  verdicts.find(each => each.state === 'unknown') ??
  (verdicts.length === 0 ? unknown(none) : yes(verdicts.map(each => each.evidence).join('; ')))

export const namesOf = ({ estate, of }: ProbeContext): readonly MovingName[] =>
  (estate.migration?.names ?? []).filter(each => of === undefined || each.kind === of)

export const serverNamesOf = (context: ProbeContext): string[] => [...new Set(namesOf(context).map(each => each.server))]

export const findServer = ({ world }: ProbeContext, name: string): Server | undefined =>
  world.servers.find(each => each.name === name)

/** Shorter prefixes are the world, not somebody's network. */
const WORLD_PREFIX = 8

/** Whether the cloud's firewalls let everybody reach a TCP port. A server without one is open. */
export function isOpenToWorld({ world }: Pick<ProbeContext, 'world'>, serverId: string, port: number): boolean {
  const own = world.firewalls.filter(firewall => firewall.serverIds.includes(serverId))
  const covers = (ports: string | undefined): boolean => {
    const [from = Number.NaN, to = from] = (ports ?? '').split('-').map(Number)
    return port >= from && port <= to
  }
  const isWorld = (range: string): boolean => Number(range.split('/')[1] ?? 128) < WORLD_PREFIX
  return (
    own.length === 0 ||
    own.some(({ rules }) => rules.some(rule => rule.protocol === 'tcp' && covers(rule.port) && rule.from.some(isWorld)))
  )
}

export const perServer =
  (look: (context: ProbeContext, name: string, server: Server | undefined) => Verdict | Promise<Verdict>) =>
  async (context: ProbeContext) =>
    all(
      await Promise.all(serverNamesOf(context).map(name => look(context, name, findServer(context, name)))),
      'config.json moves no name of this kind',
    )

export const perName =
  (look: (context: ProbeContext, moving: MovingName, server: Server) => Promise<Verdict>) => async (context: ProbeContext) =>
    all(
      await Promise.all(
        namesOf(context).map(async moving => {
          const server = findServer(context, moving.server)
          return server?.ipv4 ? look(context, moving, server) : no(`server ${moving.server} is not there`)
        }),
      ),
      'config.json moves no name of this kind',
    )

/** Applications whose domains are names of this kind. */
export const appsOf = (context: ProbeContext): readonly AppSpec[] => {
  const names = namesOf(context).map(each => each.name)
  return (context.estate.platform?.apps ?? []).filter(app => app.domains.some(domain => names.includes(domain.host)))
}

export const serviceOf = ({ world }: ProbeContext, app: AppSpec): Service | undefined => {
  const view = world.apps[app.server]
  return view?.state === 'open' ? Object.values(view.services).find(each => each.name === app.name) : undefined
}

export const perApp =
  (look: (context: ProbeContext, app: AppSpec, service: Service) => Verdict) => async (context: ProbeContext) =>
    all(
      appsOf(context).map(app => {
        if (!findServer(context, app.server)) return no(`server ${app.server} is not there`)
        const view = context.world.apps[app.server]
        if (view?.state !== 'open') return unknown(`Dokploy on ${app.server} can't be asked${view ? `: ${view.why}` : ''}`)
        const service = serviceOf(context, app)
        return service ? look(context, app, service) : no(`Dokploy on ${app.server} has no application ${app.name}`)
      }),
      'no application in config.json has such a domain',
    )

export const perView = (look: (name: string, view: AppsView) => Verdict) => async (context: ProbeContext) =>
  all(
    serverNamesOf(context).map(name => {
      if (!findServer(context, name)) return no(`server ${name} is not there`)
      const view = context.world.apps[name]
      return view?.state === 'open' ? look(name, view) : unknown(`Dokploy on ${name} can't be asked`)
    }),
    'no server of a moving name',
  )

export async function fetched(
  { outside }: ProbeContext,
  url: string,
  options: NonNullable<Parameters<Outside['fetchPage']>[1]>,
): Promise<Page | string> {
  try {
    return await outside.fetchPage(url, options)
  } catch (error) {
    if (hasCode(error, 'network', 'timeout')) return error.message.replace(/\.$/, '')
    throw error
  }
}

export const served = (status: number): boolean => status >= 200 && status < 400

/** Whether what an address gave is the page itself; a redirect or an error says nothing of what a visitor gets. */
export const isPage = (page: Page | string): boolean => typeof page !== 'string' && page.status >= 200 && page.status < 300

export const whyNoPage = (page: Page | string): string => (typeof page === 'string' ? page : `answers ${page.status}`)

/** Over TLS where there is a certificate, else plainly: before the cutover both are fine. */
export async function fetchAt(context: ProbeContext, name: string, path: string, address: string): Promise<Page | string> {
  const secure = await fetched(context, `https://${name}${path}`, { address })
  return typeof secure === 'string' ? fetched(context, `http://${name}${path}`, { address }) : secure
}

export const first = (names: readonly MovingName[], kind: MovingName['kind']): MovingName | undefined =>
  names.find(each => each.kind === kind)

/** Asks as a browser does before a page calls another origin. */
export async function preflight(context: ProbeContext, origin: string, address: string | undefined): Promise<Page | string> {
  const backend = first(context.estate.migration?.names ?? [], 'backend')
  return fetched(context, `https://${backend?.name ?? ''}${context.estate.migration?.corsPath ?? '/'}`, {
    ...(address === undefined ? {} : { address }),
    method: 'OPTIONS',
    headers: { Origin: origin, 'Access-Control-Request-Method': 'GET' },
  })
}

export const allowedOrigin = (page: Page): string | undefined => page.headers['access-control-allow-origin']

export async function judgeCors(context: ProbeContext, where: 'new place' | 'production'): Promise<Verdict> {
  const names = context.estate.migration?.names ?? []
  const [frontend, backend] = [first(names, 'frontend'), first(names, 'backend')]
  if (!frontend || !backend) return unknown('config.json moves no frontend and backend')
  const address = where === 'new place' ? findServer(context, backend.server)?.ipv4 : undefined
  if (where === 'new place' && address === undefined) return no(`server ${backend.server} is not there`)
  const origin = `https://${frontend.name}`
  const page = await preflight(context, origin, address)
  if (typeof page === 'string') return no(page)
  const allowed = allowedOrigin(page)
  return allowed === origin || allowed === '*'
    ? yes(`https://${backend.name} allows ${origin}`)
    : no(
        `https://${backend.name} answers ${page.status} to a preflight from ${origin} ${allowed ? `and allows ${allowed}` : 'and allows no origin'}`,
      )
}
