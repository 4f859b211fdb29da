/** Notifications: one row for the events, one for the target, and a pair of procedures for each kind. */

import { Secret } from '../../secret.ts'
import type { DokployApps, Notification, NotificationEvent, NotificationTarget } from '../ports/dokploy-apps.ts'
import { idIn, numberIn, objectIn, type Row, textIn, wordsIn } from './requests.ts'

const FLAGS = {
  deploy: 'appDeploy',
  build_error: 'appBuildError',
  database_backup: 'databaseBackup',
  volume_backup: 'volumeBackup',
  panel_backup: 'dokployBackup',
  restart: 'dokployRestart',
  cleanup: 'dockerCleanup',
  threshold: 'serverThreshold',
} satisfies Record<NotificationEvent, string>

const EVENTS = Object.entries(FLAGS) as readonly (readonly [NotificationEvent, string])[]
const KINDS = { slack: 'Slack', discord: 'Discord', email: 'Email', webhook: 'Custom' } as const
const WIRE_TYPES = { slack: 'slack', discord: 'discord', email: 'email', webhook: 'custom' } as const

const fromWireTarget = (row: Row): { target: NotificationTarget; targetId: string } => {
  const slack = objectIn(row, 'slack')
  const discord = objectIn(row, 'discord')
  const custom = objectIn(row, 'custom')
  const email = objectIn(row, 'email')
  switch (row.notificationType) {
    case WIRE_TYPES.slack:
      return {
        targetId: textIn(slack, 'slackId'),
        target: {
          kind: 'slack',
          url: new Secret('Slack webhook', textIn(slack, 'webhookUrl')),
          channel: textIn(slack, 'channel'),
        },
      }
    case WIRE_TYPES.discord:
      return {
        targetId: textIn(discord, 'discordId'),
        target: { kind: 'discord', url: new Secret('Discord webhook', textIn(discord, 'webhookUrl')) },
      }
    case WIRE_TYPES.webhook:
      return {
        targetId: textIn(custom, 'customId'),
        target: { kind: 'webhook', url: new Secret('webhook', textIn(custom, 'endpoint')) },
      }
    case WIRE_TYPES.email:
      return {
        targetId: textIn(email, 'emailId'),
        target: {
          kind: 'email',
          server: textIn(email, 'smtpServer'),
          port: numberIn(email, 'smtpPort'),
          username: textIn(email, 'username'),
          password: new Secret('mail password', textIn(email, 'password')),
          from: textIn(email, 'fromAddress'),
          to: wordsIn(email, 'toAddresses'),
        },
      }
    default:
      return { targetId: '', target: { kind: 'other', name: textIn(row, 'notificationType') } }
  }
}

export const fromWireNotification = (row: Row): Notification => ({
  id: idIn(row, 'notificationId', '/api/notification.all'),
  name: textIn(row, 'name'),
  ...fromWireTarget(row),
  on: EVENTS.flatMap(([event, flag]) => (row[flag] === true ? [event] : [])).sort(),
})

const fieldsOf = (target: NotificationTarget): Row => {
  switch (target.kind) {
    case 'slack':
      return { webhookUrl: target.url.reveal(), channel: target.channel }
    case 'discord':
      return { webhookUrl: target.url.reveal(), decoration: true }
    case 'webhook':
      return { endpoint: target.url.reveal() }
    case 'email':
      return {
        smtpServer: target.server,
        smtpPort: target.port,
        username: target.username,
        password: target.password.reveal(),
        fromAddress: target.from,
        toAddresses: target.to,
      }
    case 'other':
      throw new Error(`bug: a notification of the kind ${target.name} is never written`)
  }
}

/** The procedure and its body; an update when `id` is given. All flags go along: most kinds want every one. */
export function toWireNotification(notification: Parameters<DokployApps['setNotification']>[0]): {
  procedure: string
  body: Row
} {
  const { id, targetId, name, target, on } = notification
  if (target.kind === 'other') throw new Error('bug: such a notification is never written')
  const flags = Object.fromEntries(EVENTS.map(([event, flag]) => [flag, on.includes(event)]))
  const body = { name, ...flags, ...fieldsOf(target) }
  const word = KINDS[target.kind]
  if (id === undefined) return { procedure: `notification.create${word}`, body }
  return {
    procedure: `notification.update${word}`,
    body: { ...body, notificationId: id, [`${WIRE_TYPES[target.kind]}Id`]: targetId ?? '' },
  }
}
