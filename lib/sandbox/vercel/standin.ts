/** A stand-in for the part of Vercel's API that an import reads: projects, domains, variables with what Vercel keeps to itself. */

import type { Collection, SandboxClock, StandIn, StandInRequest, StandInResponse, Store } from '../kit.ts'

export interface VercelProjectRow {
  readonly id: string
  readonly name: string
  readonly framework: string | null
  readonly rootDirectory: string | null
  readonly repository?: string
  readonly productionBranch?: string
  readonly domains: readonly { readonly name: string; readonly redirect?: string }[]
  readonly variables: readonly VercelVariableRow[]
}

export interface VercelVariableRow {
  readonly id: string
  readonly key: string
  readonly value: string
  readonly type: 'plain' | 'encrypted' | 'sensitive' | 'system'
  readonly target: readonly string[]
}

export interface VercelControl {
  addToken(value: string): void
  addProject(
    project: Omit<VercelProjectRow, 'id' | 'variables'> & { readonly variables: readonly Omit<VercelVariableRow, 'id'>[] },
  ): void
  dump(): unknown
}

/** What a new world's team has at Vercel: a site whose password nobody can read back. */
export const VERCEL_EXAMPLE: Parameters<VercelControl['addProject']>[0] = {
  name: 'web',
  framework: 'sveltekit',
  rootDirectory: 'frontend/apps/web_app',
  repository: 'example/app',
  domains: [{ name: 'example.com' }, { name: 'www.example.com', redirect: 'example.com' }],
  variables: [
    { key: 'PUBLIC_API_URL', value: 'https://api.example.com', type: 'plain', target: ['production', 'preview'] },
    { key: 'SESSION_SECRET', value: 'a-session-secret-of-the-sandbox', type: 'encrypted', target: ['production'] },
    { key: 'SMTP_PASSWORD', value: '', type: 'sensitive', target: ['production'] },
  ],
}

const refusal = (status: number, code: string, message: string): StandInResponse => ({
  status,
  json: { error: { code, message } },
})

export function createVercelStandIn(deps: {
  readonly store: Store
  readonly clock: SandboxClock
}): StandIn & { readonly control: VercelControl } {
  const { store } = deps
  const projects: Collection<VercelProjectRow> = store.collection('vercel.projects')
  const tokens: Collection<{ readonly value: string }> = store.collection('vercel.tokens')

  const answer = (request: StandInRequest): StandInResponse => {
    const token = (request.headers.get('authorization') ?? '').replace(/^Bearer /, '')
    if (!tokens.get(token)) return refusal(403, 'forbidden', 'Not authorized')
    if (request.method !== 'GET') return refusal(405, 'method_not_allowed', 'Method not allowed')
    const { path } = request
    if (path === '/v9/projects') return { status: 200, json: paged(projects.all().map(toWireProject), 'projects', request) }
    const [, idOrName = '', rest = ''] = /^\/v(?:1|9|10)\/projects\/([^/]+)\/(.+)$/.exec(path) ?? []
    const project = projects.all().find(each => each.id === idOrName || each.name === idOrName)
    if (!project) return refusal(404, 'not_found', 'Project not found.')
    if (path.startsWith('/v9/') && rest === 'domains')
      return { status: 200, json: paged(project.domains.map(toWireDomain), 'domains', request) }
    if (path.startsWith('/v10/') && rest === 'env')
      return {
        status: 200,
        json: paged(
          project.variables.map(each => toWireVariable(each, 'list')),
          'envs',
          request,
        ),
      }
    const variable = project.variables.find(each => path.startsWith('/v1/') && rest === `env/${each.id}`)
    return variable ? { status: 200, json: toWireVariable(variable, 'one') } : refusal(404, 'not_found', 'Not found')
  }

  return {
    vendor: 'vercel',
    handle: answer,
    control: {
      addToken: value => tokens.put(value, { value }),
      addProject(project) {
        const id = `prj_${new Bun.CryptoHasher('sha256').update(project.name).digest('hex').slice(0, 24)}`
        const variables = project.variables.map((variable, index) => ({ ...variable, id: `${id.slice(4, 14)}${index}` }))
        projects.put(id, { ...project, id, variables })
      },
      dump: () =>
        projects.all().map(({ name, domains, variables }) => ({ name, domains, variables: variables.map(each => each.key) })),
    },
  }
}

/** Pages are told apart by a time; here by the position. */
const paged = (rows: readonly unknown[], key: string, request: StandInRequest) => {
  const limit = Math.min(100, Number(request.query.get('limit') ?? 20))
  const from = Number(request.query.get('until') ?? 0)
  const next = from + limit < rows.length ? from + limit : null
  return { [key]: rows.slice(from, from + limit), pagination: { count: Math.min(limit, rows.length - from), next, prev: null } }
}

const toWireProject = (row: VercelProjectRow) => {
  const [org = '', repo = ''] = (row.repository ?? '').split('/')
  return {
    id: row.id,
    name: row.name,
    accountId: 'team_sandbox',
    framework: row.framework,
    rootDirectory: row.rootDirectory,
    ...(row.repository === undefined
      ? {}
      : { link: { type: 'github', org, repo, productionBranch: row.productionBranch ?? 'main' } }),
  }
}

const toWireDomain = (domain: { readonly name: string; readonly redirect?: string }) => ({
  name: domain.name,
  apexName: domain.name.split('.').slice(-2).join('.'),
  redirect: domain.redirect ?? null,
  gitBranch: null,
  verified: true,
})

/** In the list an encrypted value stays encrypted; a sensitive one is never given. */
const toWireVariable = (row: VercelVariableRow, where: 'list' | 'one') => {
  const common = { id: row.id, key: row.key, type: row.type, target: row.target, customEnvironmentIds: [], configurationId: null }
  if (row.type === 'sensitive') return { ...common, value: '', decrypted: false }
  if (row.type === 'encrypted' && where === 'list')
    return { ...common, value: Buffer.from(`sealed ${row.id}`).toString('base64'), decrypted: false }
  return { ...common, value: row.value, decrypted: row.type !== 'plain' }
}
