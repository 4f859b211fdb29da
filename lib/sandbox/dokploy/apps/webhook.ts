/** `/api/deploy/<token>`: whoever knows the token deploys. Signatures are looked at for the GitHub App's route alone (facts/dokploy 8). */

import type { StandInRequest, StandInResponse } from '../../kit.ts'
import { parseJson } from '../auth.ts'
import type { Context } from '../router.ts'
import { enqueue } from './jobs.ts'
import type { ServiceRow } from './rows.ts'

interface Push {
  readonly ref?: unknown
  readonly commits?: unknown
  readonly head_commit?: unknown
}

const say = (status: number, message: string): StandInResponse => ({ status, json: { message } })

const pushOf = (text: string): Push => {
  const body = parseJson(text)
  return typeof body?.value === 'object' && body.value !== null ? body.value : {}
}

const filesOf = ({ commits }: Push): string[] => {
  if (!Array.isArray(commits)) return []
  return commits.flatMap((commit: unknown) => {
    if (typeof commit !== 'object' || commit === null) return []
    const lists = Object.entries(commit).flatMap(([name, value]): unknown[] =>
      ['added', 'modified', 'removed'].includes(name) && Array.isArray(value) ? value : [],
    )
    return lists.filter(each => typeof each === 'string')
  })
}

const branchOf = (service: ServiceRow): unknown => service.columns.customGitBranch ?? service.columns.branch

/** @param path below `/api/deploy/` */
export const answerWebhook = (context: Context, path: string, request: StandInRequest): StandInResponse => {
  if (request.headers.get('x-github-event') === 'ping') return say(200, 'Ping received, webhook is active')
  const isCompose = path.startsWith('compose/')
  const token = path.replace(/^compose\//, '')
  const service = context.platform.services
    .all()
    .find(row => row.kind === (isCompose ? 'compose' : 'application') && row.columns.refreshToken === token)
  if (!service || token === '') return say(404, isCompose ? 'Compose Not Found' : 'Application Not Found')
  if (service.columns.autoDeploy !== true) return say(400, 'Automatic deployments are disabled for this application')
  const source = service.columns.sourceType
  const push = pushOf(request.bodyText)
  if (source === 'git' || source === 'github') {
    const branch = typeof push.ref === 'string' ? push.ref.replace('refs/heads/', '') : undefined
    const watch = Array.isArray(service.columns.watchPaths)
      ? service.columns.watchPaths.filter(each => typeof each === 'string')
      : []
    if (watch.length > 0 && !filesOf(push).some(file => watch.some(pattern => new Bun.Glob(pattern).match(file))))
      return say(301, 'Watch Paths Not Match')
    if (branch === undefined || branch !== branchOf(service)) return say(301, 'Branch Not Match')
  }
  const head = push.head_commit
  const message = typeof head === 'object' && head !== null && 'message' in head ? String(head.message) : 'NEW COMMIT'
  enqueue(context.platform, service, { title: message, description: 'Hash: ', again: false }, context.clock.nowMs())
  return say(200, isCompose ? 'Compose deployed successfully' : 'Application deployed successfully')
}
