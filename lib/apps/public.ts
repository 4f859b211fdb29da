/** The app as a visitor sees it: the public address, asked at its server, shows the version that was deployed. */

import { hasCode } from '../errors.ts'
import type { AppSpec, DomainSpec } from '../estate/apps.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Outside, Page } from '../providers/ports/outside.ts'
import type { WatchContext } from './watch.ts'

export type Seen =
  | { readonly state: 'answers'; readonly url: string; readonly version?: string }
  | { readonly state: 'silent'; readonly url: string; readonly why: string; readonly status?: number }

export interface Unseen {
  readonly state: 'unseen'
  /** `unreachable`: no name, no certificate, no connection: not the version's doing. */
  readonly kind: 'unreachable' | 'wrong_answer'
  readonly why: string
  readonly status?: number
}

const PAGE_TIMEOUT_MS = 10_000
/** What Traefik says when no route leads anywhere. */
const NO_ROUTE = '404 page not found'

const join = (base: string, path: string): string => `${base === '/' ? '' : base.replace(/\/$/, '')}${path}`

export const urlOf = (domain: DomainSpec, path: string): string =>
  `${domain.https ? 'https' : 'http'}://${domain.host}${join(domain.path, path)}`

const shownVersion = (app: AppSpec, page: Page): string | undefined => {
  if (!app.version) return undefined
  const text = app.version.in === 'header' ? page.headers[app.version.name.toLowerCase()] : page.body
  return text?.trim().slice(0, 200)
}

/** A commit may be shown whole or short. */
export const sameVersion = (shown: string | undefined, wanted: string): boolean =>
  shown !== undefined &&
  (shown === wanted ||
    (/^[0-9a-f]{7,40}$/.test(shown) &&
      /^[0-9a-f]{7,40}$/.test(wanted) &&
      (shown.startsWith(wanted) || wanted.startsWith(shown))) ||
    (shown.length <= 200 && new RegExp(`(?:^|["'\\s:])${RegExp.escape(wanted)}(?:$|["'\\s,}])`).test(shown)))

const isWell = (app: AppSpec, page: Page): boolean => {
  if (page.status < 400) return true
  // Nothing was said about which path answers: then any answer of the app itself will do.
  const anyPath = app.version?.in !== 'path' && (app.health === undefined || app.health.path === '/')
  return anyPath && page.status < 500 && !(page.status === 404 && page.body.trim() === NO_ROUTE)
}

/** One look at one domain. */
export async function lookPublic(
  outside: Pick<Outside, 'fetchPage'>,
  app: AppSpec,
  domain: DomainSpec,
  server: Pick<Server, 'ipv4' | 'ipv6'>,
): Promise<Seen> {
  const path = app.version?.in === 'path' ? app.version.name : (app.health?.path ?? '/')
  const url = urlOf(domain, path)
  const address = server.ipv4 ?? server.ipv6
  try {
    const page = await outside.fetchPage(url, { ...(address === undefined ? {} : { address }), timeoutMs: PAGE_TIMEOUT_MS })
    if (!isWell(app, page)) return { state: 'silent', url, why: `${url} answers with status ${page.status}`, status: page.status }
    const version = shownVersion(app, page)
    return { state: 'answers', url, ...(version === undefined ? {} : { version }) }
  } catch (error) {
    if (hasCode(error, 'network', 'timeout')) return { state: 'silent', url, why: error.message.replace(/\.$/, '') }
    throw error
  }
}

/** Waits until every domain answers, with the version where the app shows one. The last look is what is answered with. */
export async function waitPublic(
  context: Omit<WatchContext, 'api'> & { readonly outside: Pick<Outside, 'fetchPage'> },
  app: AppSpec,
  server: Pick<Server, 'ipv4' | 'ipv6'>,
  version: string | undefined,
): Promise<{ readonly state: 'seen'; readonly urls: readonly string[] } | Unseen> {
  const { clock, signal, timing } = context
  const endsAtMs = clock.monotonicMs() + timing.outsideTimeoutMs
  for (;;) {
    const looks = await Promise.all(app.domains.map(domain => lookPublic(context.outside, app, domain, server)))
    const faults = looks.flatMap((seen): Omit<Unseen, 'state'>[] => {
      if (seen.state === 'silent')
        return [
          seen.status === undefined
            ? { kind: 'unreachable' as const, why: seen.why }
            : { kind: 'wrong_answer' as const, why: seen.why, status: seen.status },
        ]
      if (version === undefined || !app.version || sameVersion(seen.version, version)) return []
      return [
        { kind: 'wrong_answer' as const, why: `${seen.url} shows version ${seen.version ?? 'nothing'} instead of ${version}` },
      ]
    })
    const [fault] = faults
    if (!fault) return { state: 'seen', urls: looks.map(seen => seen.url) }
    if (clock.monotonicMs() > endsAtMs) return { state: 'unseen', ...fault }
    context.log(fault.why)
    await clock.sleep(timing.pollMs, signal)
  }
}
