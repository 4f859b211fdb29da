/** Who is told what by a Dokploy. */

import { blocked, done, refused, todo } from '../engine/step.ts'
import type { NotificationSpec } from '../estate/apps.ts'
import type { NotificationTarget } from '../providers/ports/dokploy-apps.ts'
import { Secret } from '../secret.ts'
import { type BelongingDeps, severalOf } from './app-belongings.ts'
import { fieldDiff } from './app-diff.ts'
import { APP_SLICES, panelApi, updateView } from './app-place.ts'
import type { EstateStep } from './deps.ts'

const desiredTarget = (deps: BelongingDeps, { target }: NotificationSpec): NotificationTarget => {
  switch (target.kind) {
    case 'slack':
      return { kind: 'slack', url: deps.secret(target.urlVariable), channel: target.channel }
    case 'email':
      return {
        kind: 'email',
        server: target.server,
        port: target.port,
        username: target.username,
        password: deps.secret(target.passwordVariable),
        from: target.from,
        to: target.to,
      }
    default:
      return { kind: target.kind, url: deps.secret(target.urlVariable) }
  }
}

/** Secrets as their equality, the rest as it is. */
function targetDiff(before: NotificationTarget, after: NotificationTarget): string[] {
  const view = (target: NotificationTarget): Record<string, unknown> =>
    Object.fromEntries(Object.entries(target).map(([key, value]) => [key, value instanceof Secret ? hashOf(value) : value]))
  const [have, want] = [view(before), view(after)]
  return [...new Set([...Object.keys(have), ...Object.keys(want)])]
    .filter(key => JSON.stringify(have[key]) !== JSON.stringify(want[key]))
    .map(key =>
      key === 'url' || key === 'password'
        ? `${key}: changed`
        : `${key}: ${JSON.stringify(have[key])} → ${JSON.stringify(want[key])}`,
    )
}
const hashOf = (secret: Secret): string => new Bun.CryptoHasher('sha256').update(secret.reveal()).digest('hex')

export function notificationStep(deps: BelongingDeps, spec: NotificationSpec): EstateStep {
  const { server } = spec
  return {
    id: `notification ${spec.name}`,
    noun: 'app',
    title: `${spec.name} is told by ${spec.target.kind}`,
    needs: [`dokploy ${server} owner`],
    reads: APP_SLICES,
    look(world) {
      const create = { kind: 'create', summary: `tell ${spec.name} by ${spec.target.kind} on ${server}` } as const
      const view = world.get('apps')[server]
      if (view?.state !== 'open') return blocked(view?.why ?? `Dokploy on ${server}`, create)
      const found = view.notifications.filter(each => each.name === spec.name)
      if (found.length > 1) return severalOf(`notifications called ${spec.name}`, server, found.length)
      const [before] = found
      const target = desiredTarget(deps, spec)
      if (before && before.target.kind !== target.kind)
        return refused(
          `Notification ${spec.name} on ${server} is of the kind ${before.target.kind}.`,
          'Delete it in the panel, or choose another name.',
        )
      const lines = before ? [...targetDiff(before.target, target), ...fieldDiff(before, { ...before, on: spec.on }, ['on'])] : []
      if (before && lines.length === 0) return done(spec.on.join(', '))
      return todo({
        ...(before ? { kind: 'change' as const, summary: `change the notification ${spec.name} on ${server}` } : create),
        details: before ? lines : [`on ${spec.on.join(', ')}`],
        async apply({ world: live }) {
          const api = await panelApi(deps, server, live)
          await api.setNotification({
            ...(before ? { id: before.id, targetId: before.targetId } : {}),
            name: spec.name,
            target,
            on: spec.on,
          })
          const notifications = await api.listNotifications()
          updateView(live, server, all => ({ ...all, notifications }))
        },
      })
    },
  }
}
