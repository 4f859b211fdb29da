/**
 * Pull requests, comments, labels and rights, as GitHub's reference has them ("Pulls", "Issue comments", "Labels", "Issue events",
 * "Collaborators", version 2022-11-28): pages of at most 100 with a `Link` header; ids that grow; what a token may not see is not there.
 */

import { createHash } from 'node:crypto'
import type { StandInResponse } from '../kit.ts'
import { paged } from './pages.ts'
import type { GitHubState, Route, RouteContext } from './standin.ts'
import { json, refusal, WORKFLOW_LOGIN } from './standin.ts'

export interface PullRow {
  /** `<repository> <number>` */
  readonly id: string
  readonly repository: string
  readonly number: number
  readonly state: 'open' | 'closed'
  readonly draft: boolean
  readonly title: string
  readonly author: string
  readonly ref: string
  readonly sha: string
  /** "stranger/web"; null for a fork that was deleted. */
  readonly headRepository: string | null
  readonly labels: readonly string[]
  readonly events: readonly {
    readonly event: 'labeled' | 'unlabeled'
    readonly label: string
    readonly actor: string
    readonly atMs: number
  }[]
  readonly createdAtMs: number
  readonly updatedAtMs: number
  readonly closedAtMs: number | null
}

export interface CommentRow {
  readonly id: number
  readonly repository: string
  readonly number: number
  readonly author: string
  readonly body: string
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export interface PersonRow {
  /** `<repository> <login>` */
  readonly id: string
  readonly permission: 'admin' | 'write' | 'read' | 'none'
}

/** An open one, from a branch of the repository itself. */
export const newPull = (fullName: string, number: number, nowMs: number): PullRow => {
  const repository = fullName.toLowerCase()
  const id = `${repository} ${number}`
  return {
    id,
    repository,
    number,
    state: 'open',
    draft: false,
    title: `Change ${number}`,
    author: 'octocat',
    ref: `change-${number}`,
    sha: createHash('sha1').update(`${id} 1`).digest('hex'),
    headRepository: fullName,
    labels: [],
    events: [],
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    closedAtMs: null,
  }
}

/** What a repository of a rehearsal begins with: one of each kind that is treated differently. */
export const examplePulls = (fullName: string, nowMs: number): readonly PullRow[] => [
  newPull(fullName, 12, nowMs),
  { ...newPull(fullName, 13, nowMs), draft: true },
  { ...newPull(fullName, 14, nowMs), author: 'stranger', headRepository: 'stranger/web' },
]

/** GitHub's limit for a comment's body. */
const BODY_LIMIT = 65_536
const API = 'https://api.github.com'
const iso = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`

const person = (login: string) => ({
  login,
  id: Number.parseInt(createHash('sha256').update(login).digest('hex').slice(0, 7), 16),
  type: login.endsWith('[bot]') ? 'Bot' : 'User',
})

const pullToWire = ({ repository }: RouteContext, row: PullRow) => {
  const fullName = `${repository.owner}/${repository.name}`
  return {
    url: `${API}/repos/${fullName}/pulls/${row.number}`,
    id: 5_000_000 + row.number,
    number: row.number,
    state: row.state,
    locked: false,
    title: row.title,
    user: person(row.author),
    body: null,
    created_at: iso(row.createdAtMs),
    updated_at: iso(row.updatedAtMs),
    closed_at: row.closedAtMs === null ? null : iso(row.closedAtMs),
    merged_at: null,
    labels: row.labels.map(name => ({ name })),
    draft: row.draft,
    head: {
      label: `${row.author}:${row.ref}`,
      ref: row.ref,
      sha: row.sha,
      user: person(row.author),
      repo: row.headRepository === null ? null : { full_name: row.headRepository, fork: row.headRepository !== fullName },
    },
    base: {
      label: `${repository.owner}:main`,
      ref: 'main',
      sha: '0'.repeat(40),
      user: person(repository.owner),
      repo: { full_name: fullName, fork: false },
    },
    author_association: 'CONTRIBUTOR',
  }
}

const commentToWire = ({ repository }: RouteContext, row: CommentRow) => ({
  url: `${API}/repos/${repository.owner}/${repository.name}/issues/comments/${row.id}`,
  id: row.id,
  user: person(row.author),
  created_at: iso(row.createdAtMs),
  updated_at: iso(row.updatedAtMs),
  issue_url: `${API}/repos/${repository.owner}/${repository.name}/issues/${row.number}`,
  author_association: 'CONTRIBUTOR',
  body: row.body,
})

const pullAt = ({ state, repository, parameters }: RouteContext): PullRow | undefined =>
  /^\d+$/.test(parameters.number ?? '') ? state.pulls.get(`${repository.id} ${Number(parameters.number)}`) : undefined

/** One's own; anybody's with write access ("Repository roles for an organization"), or as a workflow with `pull-requests: write`. */
const mayEdit = ({ state, repository, login }: RouteContext, { author }: CommentRow): boolean =>
  author === login || login === WORKFLOW_LOGIN || ['admin', 'write'].includes(permissionOf(state, repository.id, login))

/** In a public repository everybody may read. */
const permissionOf = (state: GitHubState, repository: string, login: string): PersonRow['permission'] =>
  state.people.get(`${repository} ${login.toLowerCase()}`)?.permission ?? 'read'

const bodyIn = ({ body }: RouteContext): string | StandInResponse => {
  const text = body.body
  if (typeof text !== 'string' || text.trim() === '')
    return refusal(422, 'Validation Failed', [{ resource: 'IssueComment', code: 'missing_field', field: 'body' }])
  if (text.length > BODY_LIMIT)
    return refusal(422, 'Validation Failed', [
      { resource: 'IssueComment', code: 'custom', field: 'body', message: 'body is too long (maximum is 65536 characters)' },
    ])
  return text
}

export const pullRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/pulls',
    right: 'read',
    answer(context) {
      const { state, repository, request } = context
      const wanted = request.query.get('state') ?? 'open'
      const byUpdate = request.query.get('sort') === 'updated'
      const down = (request.query.get('direction') ?? (byUpdate ? 'desc' : 'desc')) === 'desc'
      const rows = state.pulls
        .all()
        .filter(row => row.repository === repository.id && (wanted === 'all' || row.state === wanted))
        .sort((a, b) => (byUpdate ? a.updatedAtMs - b.updatedAtMs : a.createdAtMs - b.createdAtMs) || a.number - b.number)
      return paged(
        context,
        '/pulls',
        (down ? rows.reverse() : rows).map(row => pullToWire(context, row)),
      )
    },
  },
  {
    method: 'GET',
    path: '/pulls/{number}',
    right: 'read',
    answer(context) {
      const row = pullAt(context)
      return row ? json(200, pullToWire(context, row)) : refusal(404, 'Not Found')
    },
  },
  {
    method: 'GET',
    path: '/issues/{number}/comments',
    right: 'read',
    answer(context) {
      const row = pullAt(context)
      if (!row) return refusal(404, 'Not Found')
      const rows = context.state.comments.all().filter(each => each.repository === row.repository && each.number === row.number)
      return paged(
        context,
        `/issues/${row.number}/comments`,
        rows.sort((a, b) => a.id - b.id).map(each => commentToWire(context, each)),
      )
    },
  },
  {
    method: 'POST',
    path: '/issues/{number}/comments',
    right: 'write',
    answer(context) {
      const row = pullAt(context)
      if (!row) return refusal(404, 'Not Found')
      const body = bodyIn(context)
      if (typeof body !== 'string') return body
      const nowMs = context.clock.nowMs()
      const comment = {
        id: context.state.nextId('comments'),
        repository: row.repository,
        number: row.number,
        author: context.login,
        body,
        createdAtMs: nowMs,
        updatedAtMs: nowMs,
      }
      context.state.comments.put(String(comment.id), comment)
      context.state.pulls.put(row.id, { ...row, updatedAtMs: nowMs })
      return json(201, commentToWire(context, comment))
    },
  },
  {
    method: 'PATCH',
    path: '/issues/comments/{id}',
    right: 'write',
    answer(context) {
      const comment = context.state.comments.get(context.parameters.id ?? '')
      if (!comment || comment.repository !== context.repository.id) return refusal(404, 'Not Found')
      if (!mayEdit(context, comment)) return refusal(403, 'Must have admin rights to Repository.')
      const body = bodyIn(context)
      if (typeof body !== 'string') return body
      const next = { ...comment, body, updatedAtMs: context.clock.nowMs() }
      context.state.comments.put(String(comment.id), next)
      return json(200, commentToWire(context, next))
    },
  },
  {
    method: 'GET',
    path: '/issues/{number}/events',
    right: 'read',
    answer(context) {
      const row = pullAt(context)
      if (!row) return refusal(404, 'Not Found')
      const rows = row.events.map((each, index) => ({
        id: index + 1,
        event: each.event,
        actor: person(each.actor),
        created_at: iso(each.atMs),
        label: { name: each.label, color: 'ededed' },
      }))
      return paged(context, `/issues/${row.number}/events`, rows)
    },
  },
  {
    method: 'DELETE',
    path: '/issues/{number}/labels/{name}',
    right: 'write',
    answer(context) {
      const row = pullAt(context)
      const name = context.parameters.name ?? ''
      if (!row?.labels.includes(name)) return refusal(404, row ? 'Label does not exist' : 'Not Found')
      const nowMs = context.clock.nowMs()
      const labels = row.labels.filter(each => each !== name)
      context.state.pulls.put(row.id, {
        ...row,
        labels,
        updatedAtMs: nowMs,
        events: [...row.events, { event: 'unlabeled', label: name, actor: context.login, atMs: nowMs }],
      })
      return json(
        200,
        labels.map(each => ({ name: each })),
      )
    },
  },
  {
    method: 'GET',
    path: '/collaborators/{login}/permission',
    right: 'read',
    answer(context) {
      const login = context.parameters.login ?? ''
      const permission = permissionOf(context.state, context.repository.id, login)
      return json(200, { permission, role_name: permission, user: person(login) })
    },
  },
]
