/** Lists in pages of at most 100, the way GitHub's reference has them ("Using pagination in the REST API", version 2022-11-28). */

import type { StandInResponse } from '../kit.ts'
import type { RouteContext } from './standin.ts'
import { json } from './standin.ts'

/** One page, with the links of GitHub's pagination; they name the address that was asked. */
export const paged = ({ request, repository }: RouteContext, path: string, rows: readonly unknown[]): StandInResponse => {
  const perPage = Math.min(100, Math.max(1, Number(request.query.get('per_page') ?? 30)))
  const page = Math.max(1, Number(request.query.get('page') ?? 1))
  const last = Math.max(1, Math.ceil(rows.length / perPage))
  const origin = `http://${request.headers.get('host') ?? 'api.github.com'}`
  const link = (to: number, rel: string): string => {
    const query = new URLSearchParams(request.query)
    query.set('page', String(to))
    return `<${origin}/repos/${repository.owner}/${repository.name}${path}?${query}>; rel="${rel}"`
  }
  const links = [
    ...(page > 1 ? [link(page - 1, 'prev'), link(1, 'first')] : []),
    ...(page < last ? [link(page + 1, 'next'), link(last, 'last')] : []),
  ]
  return {
    ...json(200, rows.slice((page - 1) * perPage, page * perPage)),
    ...(links.length > 0 ? { headers: { link: links.join(', ') } } : {}),
  }
}
