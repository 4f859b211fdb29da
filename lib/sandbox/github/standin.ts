/**
 * A stand-in for GitHub's API: a table of routes over the store. Webhooks so far; every noun is one more table. Repositories exist when
 * a test or the sandbox's seed has added them, and a token sees them by its right.
 */

import type { Collection, SandboxClock, StandIn, StandInRequest, StandInResponse, Store } from '../kit.ts'
import { hookRoutes } from './hooks.ts'

export interface RepositoryRow {
  /** "owner/name", in lower case. */
  readonly id: string
  readonly owner: string
  readonly name: string
  readonly private: boolean
}

export interface HookRow {
  readonly id: number
  readonly repository: string
  readonly active: boolean
  readonly events: readonly string[]
  readonly url: string
  readonly contentType: string
  readonly secret: string | null
  readonly insecureSsl: string
  readonly createdAt: string
}

export interface TokenRow {
  readonly value: string
  readonly right: 'none' | 'read' | 'admin'
  /** A rehearsal's own token: a repository that it asks for comes into being, as the operator's own would be there. */
  readonly makes?: true
}

export interface GitHubState {
  readonly repositories: Collection<RepositoryRow>
  readonly hooks: Collection<HookRow>
  readonly tokens: Collection<TokenRow>
  readonly nextId: (sequence: string) => number
}

/** What a route is given. */
export interface RouteContext {
  readonly state: GitHubState
  readonly clock: SandboxClock
  readonly request: StandInRequest
  readonly repository: RepositoryRow
  readonly body: Readonly<Record<string, unknown>>
  /** What the path's further placeholders stood for. */
  readonly parameters: Readonly<Record<string, string>>
}

export interface Route {
  readonly method: string
  /** Below `/repos/{owner}/{repo}`; `{name}` is a placeholder. */
  readonly path: string
  readonly right: 'read' | 'admin'
  answer(context: RouteContext): StandInResponse
}

export interface GitHubControl {
  addToken(token: TokenRow): void
  addRepository(fullName: string, more?: { readonly private?: boolean }): void
  hooks(fullName: string): readonly HookRow[]
  dump(): unknown
}

const ROUTES: readonly Route[] = [...hookRoutes]

export const json = (status: number, body?: unknown): StandInResponse => ({
  status,
  ...(body === undefined ? {} : { json: body }),
})
const docs = { documentation_url: 'https://docs.github.com/rest' }
export const refusal = (status: number, message: string, errors?: readonly unknown[]): StandInResponse =>
  json(status, { message, ...(errors ? { errors } : {}), ...docs, status: String(status) })

export function createGitHubStandIn(deps: {
  readonly store: Store
  readonly clock: SandboxClock
}): StandIn & { readonly control: GitHubControl } {
  const { store, clock } = deps
  const state: GitHubState = {
    repositories: store.collection('github.repositories'),
    hooks: store.collection('github.hooks'),
    tokens: store.collection('github.tokens'),
    nextId: sequence => store.nextId(`github.${sequence}`, 1000),
  }

  const answer = (request: StandInRequest): StandInResponse => {
    const token = state.tokens.get((request.headers.get('authorization') ?? '').replace(/^(?:Bearer|token) /i, ''))
    if (!request.headers.get('user-agent')) return { status: 403, text: 'Request forbidden by administrative rules.' }
    if (!token) return refusal(401, 'Bad credentials')
    const [, owner = '', name = '', rest = ''] = /^\/repos\/([^/]+)\/([^/]+)(\/.*)?$/.exec(request.path) ?? []
    const id = `${owner}/${name}`.toLowerCase()
    if (token.makes && owner !== '' && name !== '' && !state.repositories.get(id))
      state.repositories.put(id, { id, owner, name, private: false })
    const repository = state.repositories.get(id)
    // A repository that the token may not see does not exist for it.
    if (!repository || token.right === 'none') return refusal(404, 'Not Found')
    for (const route of ROUTES) {
      const parameters = match(route.path, rest)
      if (!parameters || route.method !== request.method) continue
      if (route.right === 'admin' && token.right !== 'admin') return refusal(404, 'Not Found')
      const body = bodyOf(request)
      if (body === undefined) return refusal(400, 'Problems parsing JSON')
      return route.answer({ state, clock, request, repository, body, parameters })
    }
    return refusal(404, 'Not Found')
  }

  return {
    vendor: 'github',
    handle: request => ({
      ...store.transaction(() => answer(request)),
      headers: { 'x-github-request-id': `SAND:${state.nextId('requests')}`, 'content-type': 'application/json; charset=utf-8' },
    }),
    control: {
      addToken: token => state.tokens.put(token.value, token),
      addRepository(fullName, more = {}) {
        const [owner = '', name = ''] = fullName.split('/')
        state.repositories.put(fullName.toLowerCase(), {
          id: fullName.toLowerCase(),
          owner,
          name,
          private: more.private ?? false,
        })
      },
      hooks: fullName => state.hooks.all().filter(hook => hook.repository === fullName.toLowerCase()),
      dump: () => ({
        repositories: state.repositories.all().map(({ id }) => id),
        hooks: state.hooks.all().map(({ id, repository, active, events }) => ({ id, repository, active, events })),
      }),
    },
  }
}

/** The placeholders' values when `path` has the form of `template`. */
const match = (template: string, path: string): Readonly<Record<string, string>> | undefined => {
  const wanted = template.split('/')
  const given = path.split('/')
  if (wanted.length !== given.length) return undefined
  const parameters: Record<string, string> = {}
  for (const [index, part] of wanted.entries()) {
    const value = given[index] ?? ''
    if (part.startsWith('{')) parameters[part.slice(1, -1)] = decodeURIComponent(value)
    else if (part !== value) return undefined
  }
  return parameters
}

const bodyOf = (request: StandInRequest): Readonly<Record<string, unknown>> | undefined => {
  if (request.bodyText === '') return {}
  try {
    const value: unknown = JSON.parse(request.bodyText)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
