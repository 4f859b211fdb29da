/**
 * A stand-in for GitHub's API: a table of routes over the store. Every noun is one more table. Repositories exist when
 * a test or the sandbox's seed has added them, and a token sees them by its right.
 */

import { createHash } from 'node:crypto'
import type { Collection, SandboxClock, StandIn, StandInRequest, StandInResponse, Store } from '../kit.ts'
import { hookRoutes } from './hooks.ts'
import { type HourRow, withinLimit } from './limits.ts'
import { type CommentRow, examplePulls, newPull, type PersonRow, type PullRow, pullRoutes } from './pulls.ts'

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
  readonly right: 'none' | 'read' | 'write' | 'admin'
  /** Whose it is; a workflow's own token when absent, which may not ask who it is. */
  readonly login?: string
  /** A rehearsal's own token: a repository that it asks for comes into being, as the operator's own would be there. */
  readonly makes?: true
  /** How many requests it has in an hour; GitHub's own number when absent. */
  readonly hourly?: number
}

export interface GitHubState {
  readonly repositories: Collection<RepositoryRow>
  readonly hooks: Collection<HookRow>
  readonly tokens: Collection<TokenRow>
  readonly pulls: Collection<PullRow>
  readonly comments: Collection<CommentRow>
  readonly people: Collection<PersonRow>
  readonly hours: Collection<HourRow>
  readonly nextId: (sequence: string) => number
}

/** What a route is given. */
export interface RouteContext {
  readonly state: GitHubState
  readonly clock: SandboxClock
  readonly request: StandInRequest
  readonly repository: RepositoryRow
  /** Who asks. */
  readonly login: string
  readonly body: Readonly<Record<string, unknown>>
  /** What the path's further placeholders stood for. */
  readonly parameters: Readonly<Record<string, string>>
}

export interface Route {
  readonly method: string
  /** Below `/repos/{owner}/{repo}`; `{name}` is a placeholder. */
  readonly path: string
  readonly right: 'read' | 'write' | 'admin'
  answer(context: RouteContext): StandInResponse
}

export interface GitHubControl {
  addToken(token: TokenRow): void
  addRepository(fullName: string, more?: { readonly private?: boolean }): void
  hooks(fullName: string): readonly HookRow[]
  /** Opens a pull request, or changes the one of that number, as people and their pushes do. */
  setPull(fullName: string, number: number, change?: PullChange): void
  /** Puts a label on or takes it off, in somebody's name. */
  setLabel(fullName: string, number: number, label: string, who: string, to: 'on' | 'off'): void
  addComment(fullName: string, number: number, author: string, body: string): number
  setPermission(fullName: string, login: string, permission: PersonRow['permission']): void
  pulls(fullName: string): readonly PullRow[]
  comments(fullName: string, number: number): readonly CommentRow[]
  dump(): unknown
}

/** What people may do with a pull request. `fork` names the repository that it comes from. */
export type PullChange = Partial<Pick<PullRow, 'state' | 'draft' | 'title' | 'author' | 'ref' | 'sha'>> & {
  readonly fork?: string | null
}

const ROUTES: readonly Route[] = [...hookRoutes, ...pullRoutes]
const RIGHTS = ['none', 'read', 'write', 'admin'] as const
export const WORKFLOW_LOGIN = 'github-actions[bot]'

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
    pulls: store.collection('github.pulls'),
    comments: store.collection('github.comments'),
    people: store.collection('github.people'),
    hours: store.collection('github.hours'),
    nextId: sequence => store.nextId(`github.${sequence}`, 1000),
  }

  const answer = (request: StandInRequest): StandInResponse => {
    const token = state.tokens.get((request.headers.get('authorization') ?? '').replace(/^(?:Bearer|token) /i, ''))
    if (!request.headers.get('user-agent')) return { status: 403, text: 'Request forbidden by administrative rules.' }
    if (!token) return refusal(401, 'Bad credentials')
    return withinLimit(state.hours, token, clock.nowMs(), () => conditional(request, answerTo(request, token)))
  }

  const answerTo = (request: StandInRequest, token: TokenRow): StandInResponse => {
    if (request.path === '/user')
      return token.login === undefined
        ? refusal(403, 'Resource not accessible by integration')
        : json(200, { login: token.login, id: 1, type: 'User' })
    const [, owner = '', name = '', rest = ''] = /^\/repos\/([^/]+)\/([^/]+)(\/.*)?$/.exec(request.path) ?? []
    const id = `${owner}/${name}`.toLowerCase()
    if (token.makes && owner !== '' && name !== '' && !state.repositories.get(id)) {
      state.repositories.put(id, { id, owner, name, private: false })
      for (const row of examplePulls(`${owner}/${name}`, clock.nowMs())) state.pulls.put(row.id, row)
    }
    const repository = state.repositories.get(id)
    // A repository that the token may not see does not exist for it.
    if (!repository || token.right === 'none') return refusal(404, 'Not Found')
    for (const route of ROUTES) {
      const parameters = match(route.path, rest)
      if (!parameters || route.method !== request.method) continue
      if (RIGHTS.indexOf(token.right) < RIGHTS.indexOf(route.right))
        return route.right === 'admin'
          ? refusal(404, 'Not Found')
          : refusal(403, 'Resource not accessible by personal access token')
      const body = bodyOf(request)
      if (body === undefined) return refusal(400, 'Problems parsing JSON')
      return route.answer({ state, clock, request, repository, login: token.login ?? WORKFLOW_LOGIN, body, parameters })
    }
    return refusal(404, 'Not Found')
  }

  return {
    vendor: 'github',
    handle(request) {
      const answered = store.transaction(() => answer(request))
      const base = {
        'x-github-request-id': `SAND:${state.nextId('requests')}`,
        'content-type': 'application/json; charset=utf-8',
      }
      return { ...answered, headers: { ...answered.headers, ...base } }
    },
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
      setPull(fullName, number, { fork, ...change } = {}) {
        const repository = fullName.toLowerCase()
        const id = `${repository} ${number}`
        const nowMs = clock.nowMs()
        const before = state.pulls.get(id) ?? newPull(fullName, number, nowMs)
        const next = { ...before, ...change, updatedAtMs: nowMs, ...(fork === undefined ? {} : { headRepository: fork }) }
        state.pulls.put(id, { ...next, closedAtMs: next.state === 'closed' ? (before.closedAtMs ?? nowMs) : null })
      },
      setLabel(fullName, number, label, who, to) {
        const id = `${fullName.toLowerCase()} ${number}`
        const row = state.pulls.get(id)
        if (!row) return
        const others = row.labels.filter(each => each !== label)
        const atMs = clock.nowMs()
        const event = to === 'on' ? 'labeled' : 'unlabeled'
        const labels = to === 'on' ? [...others, label] : others
        state.pulls.put(id, { ...row, labels, updatedAtMs: atMs, events: [...row.events, { event, label, actor: who, atMs }] })
      },
      addComment(fullName, number, author, body) {
        const id = state.nextId('comments')
        const nowMs = clock.nowMs()
        const row = { id, repository: fullName.toLowerCase(), number, author, body, createdAtMs: nowMs, updatedAtMs: nowMs }
        state.comments.put(String(id), row)
        return id
      },
      setPermission(fullName, login, permission) {
        const id = `${fullName.toLowerCase()} ${login.toLowerCase()}`
        state.people.put(id, { id, permission })
      },
      pulls: fullName => state.pulls.all().filter(each => each.repository === fullName.toLowerCase()),
      comments: (fullName, number) =>
        state.comments.all().filter(each => each.repository === fullName.toLowerCase() && each.number === number),
      dump: () => ({
        repositories: state.repositories.all().map(({ id }) => id),
        hooks: state.hooks.all().map(({ id, repository, active, events }) => ({ id, repository, active, events })),
      }),
    },
  }
}

/** A read's answer with its validator; without a body when the request has seen the same already (RFC 9110, 15.4.5). */
const conditional = (request: StandInRequest, answered: StandInResponse): StandInResponse => {
  if (request.method !== 'GET' || answered.status !== 200) return answered
  const etag = `W/"${createHash('sha256').update(JSON.stringify(answered.json)).digest('hex')}"`
  if (request.headers.get('if-none-match') === etag) return { status: 304, headers: { etag } }
  return { ...answered, headers: { ...answered.headers, etag } }
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
