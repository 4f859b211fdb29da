/**
 * Vercel behind our port. Its list of variables holds values that are still encrypted; each is read on its own to be had in clear
 * (vercel/sdk#118), and a sensitive one is never given at all.
 */

import { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { Vercel, VercelDomain, VercelProject, VercelVariable } from '../ports/vercel.ts'
import { createRest, isRow, type JsonRow, rowsIn, textOf } from '../rest.ts'

export interface VercelOptions {
  readonly token: Secret
  readonly context: ProviderContext
  readonly endpoint?: string
  /** Projects of a team are seen only with its id. */
  readonly teamId?: string
}

const ENDPOINT = 'https://api.vercel.com'
const PAGE = 100
const MAX_PAGES = 50

export function createVercel({ token, context, endpoint, teamId }: VercelOptions): Vercel {
  const rest = createRest({
    vendor: 'Vercel',
    provider: 'vercel',
    endpoint: endpoint ?? ENDPOINT,
    token,
    context,
    tokenHint: 'Make a token at vercel.com → Settings → Tokens whose scope is the team; for a team also set VERCEL_TEAM_ID.',
  })

  const withQuery = (path: string, query: Readonly<Record<string, string>>): string => {
    const text = new URLSearchParams({ ...query, ...(teamId === undefined ? {} : { teamId }) }).toString()
    return text === '' ? path : `${path}?${text}`
  }

  /** All pages of a list; Vercel pages by the time in `pagination.next`. */
  const list = async (path: string, key: string): Promise<readonly JsonRow[]> => {
    const rows: JsonRow[] = []
    let until: string | undefined
    for (let page = 0; page < MAX_PAGES; page++) {
      const { json } = await rest.get(withQuery(path, { limit: String(PAGE), ...(until === undefined ? {} : { until }) }))
      const body = isRow(json) ? json : {}
      rows.push(...rowsIn(body[key]))
      const next = isRow(body.pagination) ? body.pagination.next : null
      if (next === null || next === undefined) break
      until = String(next)
    }
    return rows
  }

  return {
    listProjects: async () => (await list('/v9/projects', 'projects')).map(fromWireProject),
    listDomains: async projectId =>
      (await list(`/v9/projects/${encodeURIComponent(projectId)}/domains`, 'domains')).map(fromWireDomain),
    async listVariables(projectId) {
      const path = `/v10/projects/${encodeURIComponent(projectId)}/env`
      const variables: VercelVariable[] = []
      for (const row of await list(path, 'envs')) {
        // One by one: the list keeps what is encrypted so.
        const type = textOf(row, 'type')
        const isClosed = type === 'encrypted' || type === 'secret'
        if (type === 'system') continue
        const one = isClosed
          ? (
              await rest.get(
                withQuery(`/v1/projects/${encodeURIComponent(projectId)}/env/${encodeURIComponent(textOf(row, 'id'))}`, {}),
              )
            ).json
          : row
        variables.push(fromWireVariable(row, isRow(one) ? one : {}))
      }
      return variables
    },
  }
}

const orNothing = <K extends string>(key: K, value: string): { [P in K]?: string } =>
  (value === '' ? {} : { [key]: value }) as { [P in K]?: string }

function fromWireProject(row: JsonRow): VercelProject {
  const link = isRow(row.link) ? row.link : {}
  const repository = textOf(link, 'type') === 'github' ? `${textOf(link, 'org')}/${textOf(link, 'repo')}` : ''
  return {
    id: textOf(row, 'id'),
    name: textOf(row, 'name'),
    ...orNothing('framework', textOf(row, 'framework')),
    ...orNothing('rootDirectory', textOf(row, 'rootDirectory')),
    ...orNothing('repository', repository),
    ...orNothing('productionBranch', textOf(link, 'productionBranch')),
  }
}

const fromWireDomain = (row: JsonRow): VercelDomain => ({
  name: textOf(row, 'name'),
  ...orNothing('redirect', textOf(row, 'redirect')),
  verified: row.verified === true,
  ...orNothing('gitBranch', textOf(row, 'gitBranch')),
})

function fromWireVariable(listed: JsonRow, one: JsonRow): VercelVariable {
  const name = textOf(listed, 'key')
  const { target, customEnvironmentIds } = listed
  const targets = [target, customEnvironmentIds].flat().filter(each => typeof each === 'string')
  const common = { name, targets, ...orNothing('gitBranch', textOf(listed, 'gitBranch')) }
  const type = textOf(listed, 'type')
  if (type === 'sensitive') return { ...common, state: 'blank', why: 'sensitive' }
  const value = textOf(one, 'value')
  // Whether an empty value is one that was meant so cannot be told: it is listed, and a person decides.
  if (value === '') return { ...common, state: 'blank', why: 'empty' }
  if (type !== 'plain' && one.decrypted === false) return { ...common, state: 'blank', why: 'encrypted' }
  return { ...common, state: 'known', value: new Secret(name, value, type === 'plain' ? 'unlisted' : 'listed') }
}
