/** `stack.ts status` and `prune`: how the stack stands as Docker and as nginx see it, and images that nobody needs any more. */

import { randomUUID } from 'node:crypto'
import { LandfallError } from '../../errors.ts'
import { listed } from '../../estate/words.ts'
import type { HostFacts, StackImageUse } from '../../providers/ports/docker.ts'
import type { Session } from '../../script.ts'
import { lookWith, type StackHost } from '../../steps/stack-world.ts'
import { commandLine } from '../../view.ts'
import { type Manifest, parseManifest, parseState, type StackState } from '../model.ts'
import { parseResolved, type Resolved } from '../resolved.ts'
import { isUp } from '../rollout.ts'
import { type OpenedStack, openHosts, whoAmI } from './open.ts'

/** Prints how every host stands. Answers 0 when everything is healthy and served. */
export async function showStatus(session: Session, opened: OpenedStack): Promise<number> {
  const { reporter, signal } = session
  const { hosts, meter, close } = await openHosts(session, opened)
  try {
    let bad = 0
    for (const host of hosts) {
      const { facts, state, services } = await lookAt(session, opened, host)
      const versions = await host.docker.versions(signal)
      const rows = facts.containers.map(({ service, name, state: running, health, image }) => ({
        service,
        name,
        state: running,
        health,
        image,
      }))
      const unwell = facts.containers.filter(each =>
        services[each.service]?.ends ? each.state !== 'exited' || each.exitCode !== 0 : !isUp(each),
      )
      const { health } = opened.environment
      const statuses = health.length === 0 ? [] : await host.docker.ask(health, signal)
      const served = health.map(({ url, host: name }, index) => ({ url, host: name, status: statuses[index] ?? 0 }))
      const unserved = served.filter(({ status }) => status < 200 || status >= 400)
      bad += unwell.length + unserved.length + (state.rollout ? 1 : 0) + (rows.length === 0 ? 1 : 0)
      const lines = [
        `${host.docker.name}: Docker ${versions.docker}, Compose ${versions.compose}`,
        ...(rows.length === 0
          ? ['  nothing of the stack is there']
          : rows.map(row => `  ${row.service.padEnd(14)} ${row.state.padEnd(10)} ${row.health.padEnd(10)} ${row.image}`)),
        ...served.map(
          ({ url, host: name, status }) =>
            `  ${status >= 200 && status < 400 ? 'served' : 'NOT served'}: ${url} as ${name} → ${status === 0 ? 'no answer' : status}`,
        ),
        ...(state.rollout
          ? [
              `  a rollout of ${state.rollout.release} was left half done (${state.rollout.phase}); the next deploy or rollback ends it`,
            ]
          : []),
        `  releases: ${state.history.length === 0 ? 'none recorded' : state.history.map(({ id, atMs, kind }) => `${id} (${kind} ${new Date(atMs).toISOString().slice(0, 16)})`).join(', ')}`,
      ]
      reporter.page(lines.join('\n'), {
        message: host.docker.name,
        containers: rows,
        served,
        releases: state.history,
        ...(state.rollout ? { unfinished: state.rollout.release } : {}),
      })
    }
    reporter.summary({
      ok: bad === 0,
      title:
        bad === 0 ? 'Everything is healthy and served.' : `${bad} ${bad === 1 ? 'thing is' : 'things are'} not as it should be.`,
      changes: 0,
      applied: 0,
      durationMs: session.elapsedMs(),
      requests: meter.snapshot(),
      outputs: { environment: opened.environment.name },
      notes: [],
      simulated: [],
    })
    return bad === 0 ? 0 : 1
  } finally {
    await close()
  }
}

async function lookAt(
  session: Session,
  opened: OpenedStack,
  { docker, variables }: StackHost,
): Promise<{
  facts: HostFacts
  state: StackState
  services: Resolved['services']
  manifests: readonly Manifest[]
  repositories: readonly string[]
}> {
  const text = await docker.resolve(variables, session.signal)
  const resolved = parseResolved(text, opened.stack.project)
  const { services } = resolved
  const images = Object.values(services).map(({ image }) => image)
  const facts = await lookWith(docker, resolved, images, session.signal)
  const rolled = Object.values(services).filter(({ name }) => opened.stack.services.includes(name))
  const repositories = [...new Set(rolled.map(({ image }) => repositoryOf(image)))].filter(each => each !== '')
  return { facts, state: parseState(facts.state), services, manifests: facts.manifests.map(parseManifest), repositories }
}

/** `registry.example.com:5000/app:1@sha256:…` → `registry.example.com:5000/app`. */
export const repositoryOf = (image: string): string => image.replace(/@.*$/, '').replace(/:[^/:]*$/, '')

/** Images that may go: of the stack's own repositories, in no container, in no recorded release, and not wanted now. */
export function prunable(
  images: readonly StackImageUse[],
  manifests: readonly Manifest[],
  wanted: ReadonlySet<string>,
): readonly StackImageUse[] {
  const recorded = new Set(manifests.flatMap(({ services }) => Object.values(services).map(({ imageId }) => imageId)))
  return images.filter(({ id, used }) => !used && !recorded.has(id) && !wanted.has(id))
}

export async function prune(session: Session, opened: OpenedStack): Promise<number> {
  const { reporter, args, signal } = session
  const { hosts, meter, close } = await openHosts(session, opened)
  try {
    let found = 0
    let removed = 0
    for (const host of hosts) {
      const candidates = async () => {
        const { facts, manifests, repositories } = await lookAt(session, opened, host)
        const wanted = new Set(Object.values(facts.images).map(({ id }) => id))
        return repositories.length === 0 ? [] : prunable(await host.docker.listImages(repositories, signal), manifests, wanted)
      }
      const images = await candidates()
      found += images.length
      if (images.length === 0) continue
      reporter.plan({
        subject: `images on ${host.docker.name}`,
        entries: [
          {
            noun: 'stack',
            title: 'no image lies there unused',
            state: 'todo',
            changes: images.map(({ id, refs, bytes }) => ({
              kind: 'destroy' as const,
              summary: `remove image ${refs[0] ?? id.slice(7, 19)} (${Math.round(bytes / 1e6)} MB)`,
            })),
          },
        ],
        changes: images.length,
      })
      if (args.plan) continue
      await agreeToPrune(session, opened, images)
      const lock = await host.docker.hold(`prune-${randomUUID().slice(0, 8)}`, whoAmI(), signal)
      try {
        // What a deploy has recorded meanwhile stays.
        const still = new Set((await candidates()).map(({ id }) => id))
        removed += (await host.docker.removeImages(images.filter(({ id }) => still.has(id)).map(({ id }) => id))).length
      } finally {
        await lock.release()
      }
    }
    reporter.summary({
      ok: true,
      changes: found,
      applied: removed,
      durationMs: session.elapsedMs(),
      requests: meter.snapshot(),
      outputs: { environment: opened.environment.name, removed: String(removed) },
      notes: found === 0 ? [{ label: 'images', text: 'every image is in use, recorded for a rollback, or wanted' }] : [],
      simulated: [],
    })
    return args.plan && found > 0 ? 2 : 0
  } finally {
    await close()
  }
}

async function agreeToPrune(session: Session, { stack }: OpenedStack, images: readonly StackImageUse[]): Promise<void> {
  const { args, ask, interactive } = session
  if (args.yes && args.confirm.includes(stack.name)) return
  const what = `Removing ${listed(images.slice(0, 3).map(({ refs, id }) => refs[0] ?? id.slice(7, 19)))}${images.length > 3 ? ` and ${images.length - 3} more` : ''} cannot be taken back`
  if (!interactive)
    throw new LandfallError('refused', `${what}.`, {
      hint: `If that is what you want: ${commandLine(session, '--yes', `--confirm ${stack.name}`)}`,
    })
  if (!(await ask.confirm({ flag: `--yes --confirm ${stack.name}`, message: `${what}. Remove them?`, default: false })))
    throw new LandfallError('cancelled', 'Nothing was removed.')
}
