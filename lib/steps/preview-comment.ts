/** Each pull request says how its preview stands, in one comment that is kept up to date. */

import { done, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { hasCode } from '../errors.ts'
import { renderAmount } from '../estate/cost.ts'
import { previewCost } from '../estate/cost-months.ts'
import { previewHost } from '../estate/previews.ts'
import { isOutdated, parseComment, renderComment, type Told } from '../preview/comment.ts'
import type { Verdict } from '../preview/desired.ts'
import type { IssueComment } from '../providers/ports/github.ts'
import type { EstateStep } from './deps.ts'
import { type PreviewDeps, runsIn, verdictsIn } from './preview-kit.ts'
import { previewServers, type SeenPull } from './preview-world.ts'
import type { EstateWorld } from './world.ts'

type View = Pick<World<EstateWorld>, 'get'>

/** What the preview of `number` has cost since it was made; undefined when nothing runs or nothing is known. */
export function costSoFar(deps: Pick<PreviewDeps, 'estate' | 'spec'>, world: View, number: number): string | undefined {
  const { estate, spec } = deps
  const run = runsIn(deps, world).find(each => each.number === number)
  if (!run || run.sinceMs === 0) return undefined
  const servers = world.get('servers')
  const server =
    spec.substrate === 'shared' ? servers.find(each => each.name === spec.host) : previewServers(estate.name, servers).get(number)
  if (!server) return undefined
  const cost = previewCost({
    server,
    sinceMs: spec.substrate === 'shared' ? run.sinceMs : Date.parse(server.createdAt),
    sharedBy: spec.substrate === 'shared' ? Math.max(1, runsIn(deps, world).length) : 1,
    nowMs: world.get('pulls').nowMs,
    serverTypes: world.get('serverTypes'),
    pricing: world.get('pricing'),
  })
  if (!cost) return undefined
  const words = `${renderAmount(cost.net)} ${world.get('pricing').currency} net`
  return spec.substrate === 'shared' ? `${words}, its share of ${spec.host}` : words
}

const told = (deps: PreviewDeps, verdict: Verdict, world: View): Told => {
  const { estate, spec } = deps
  const { number, standing } = verdict
  const run = runsIn(deps, world).find(each => each.number === number)
  const cost = standing === 'wanted' && run?.state === 'up' ? costSoFar(deps, world, number) : undefined
  return {
    estate: estate.name,
    url: `https://${previewHost(spec.domain, number)}`,
    max: spec.max,
    label: spec.label,
    logs: `bun scripts/preview.ts logs ${number}`,
    ...(run && (run.state === 'up' || run.state === 'failed') ? { run: { state: run.state, head: run.head, why: run.why } } : {}),
    ...(cost === undefined ? {} : { cost }),
  }
}

/** The comment of one pull request says what is so, and remembers what has to be. */
export function commentStep(deps: PreviewDeps, number: number): EstateStep {
  const { spec, github } = deps
  const repository = { owner: spec.owner, name: spec.repository }
  const write = async (there: SeenPull['comment'], body: string): Promise<Pick<IssueComment, 'id' | 'author'>> => {
    if (!there) return github.createComment(repository, number, body)
    try {
      await github.setComment(repository, there.id, body)
      return there
    } catch (error) {
      // Deleted since the look, or of somebody whose comments this token may not edit after all: a newer one of our own counts.
      if (hasCode(error, 'not_found', 'forbidden')) return github.createComment(repository, number, body)
      throw error
    }
  }
  return {
    id: `preview comment ${number}`,
    noun: 'preview',
    title: `pull request ${number} says how its preview stands`,
    needs: [`preview ${number}`, 'previews gone', 'preview edge'],
    reads: ['pulls', 'previews', 'servers', 'serverTypes', 'pricing', 'networks'],
    look(world) {
      const verdict = verdictsIn(deps, world).find(each => each.number === number)
      const pull = world.get('pulls').pulls.find(each => each.number === number)
      if (!verdict || !pull) return done('no such pull request')
      if (verdict.standing === 'closed' && !pull.comment) return done('closed')
      const { nowMs } = world.get('pulls')
      const facts = told(deps, verdict, world)
      const want = renderComment(verdict, facts, nowMs)
      if (!verdict.staleLabel && !isOutdated(pull.comment?.remembered, want, facts.cost !== undefined, nowMs))
        return done(verdict.standing)
      if (pull.comment && !pull.comment.editable)
        return refused(
          `The comment that remembers the preview of pull request ${number} is by ${pull.comment.author}, and GITHUB_TOKEN may not edit it: the next run would undo this one.`,
          `Take a token of somebody with write access to ${spec.owner}/${spec.repository}, then run the same command again.`,
        )
      return todo({
        kind: pull.comment ? 'change' : 'create',
        summary: `${pull.comment ? 'update the' : 'write a'} comment in pull request ${number} (${verdict.standing})`,
        ...(verdict.staleLabel ? { details: [`take the label "${spec.label}" off: it was put for an earlier commit`] } : {}),
        async apply({ world: live }) {
          const now = live.get('pulls').nowMs
          const latest = verdictsIn(deps, live).find(each => each.number === number) ?? verdict
          const comment = renderComment(latest, told(deps, latest, live), now)
          // First the label: were the new commit remembered before it is off, the old label would approve it.
          if (latest.staleLabel) await github.removeLabel(repository, number, spec.label)
          const written = await write(pull.comment, comment.body)
          const remembered = parseComment(comment.body, deps.estate.name, number)
          live.update('pulls', all => ({
            ...all,
            pulls: all.pulls.map(each =>
              each.number === number && remembered
                ? {
                    ...each,
                    approved: each.approved && !latest.staleLabel,
                    record: remembered.record,
                    comment: { ...written, editable: true, remembered },
                  }
                : each,
            ),
          }))
        },
      })
    },
  }
}
