/** The shell programs that act on a Docker host: what each takes, how long it may last, and whether it changes anything. */

import type { Program } from '../ports/machine.ts'
import { renderProgram } from '../ssh/programs.ts'
import askText from './programs/ask.sh' with { type: 'text' }
import besideText from './programs/beside.sh' with { type: 'text' }
import commonText from './programs/common.sh' with { type: 'text' }
import containersText from './programs/containers.sh' with { type: 'text' }
import createDarkText from './programs/create-dark.sh' with { type: 'text' }
import drainText from './programs/drain.sh' with { type: 'text' }
import filesText from './programs/files.sh' with { type: 'text' }
import healthText from './programs/health.sh' with { type: 'text' }
import heldText from './programs/held.sh' with { type: 'text' }
import holdText from './programs/hold.sh' with { type: 'text' }
import httpText from './programs/http.sh' with { type: 'text' }
import listImagesText from './programs/list-images.sh' with { type: 'text' }
import lookText from './programs/look.sh' with { type: 'text' }
import nginxText from './programs/nginx.sh' with { type: 'text' }
import ownText from './programs/own.sh' with { type: 'text' }
import publishText from './programs/publish.sh' with { type: 'text' }
import pullText from './programs/pull.sh' with { type: 'text' }
import readReleaseText from './programs/read-release.sh' with { type: 'text' }
import recordText from './programs/record.sh' with { type: 'text' }
import releaseText from './programs/release.sh' with { type: 'text' }
import removeText from './programs/remove.sh' with { type: 'text' }
import removeImagesText from './programs/remove-images.sh' with { type: 'text' }
import resolveText from './programs/resolve.sh' with { type: 'text' }
import setNginxFilesText from './programs/set-nginx-files.sh' with { type: 'text' }
import setStateText from './programs/set-state.sh' with { type: 'text' }
import startText from './programs/start.sh' with { type: 'text' }
import stateText from './programs/state.sh' with { type: 'text' }
import stopText from './programs/stop.sh' with { type: 'text' }
import switchNginxText from './programs/switch-nginx.sh' with { type: 'text' }
import upText from './programs/up.sh' with { type: 'text' }
import versionsText from './programs/versions.sh' with { type: 'text' }
import waitHealthyText from './programs/wait-healthy.sh' with { type: 'text' }

interface Part {
  readonly accepts: readonly string[]
  readonly text: string
  readonly effect: 'read' | 'write'
  readonly timeoutMs: number
}

const MINUTE_MS = 60_000
const OWN = ['RUN'] as const
const STATE = ['TEXT', 'KEEP'] as const
const RELEASE = ['RELEASE', 'CONFIG', 'MANIFEST'] as const

export const STACK_PROGRAMS = {
  'stack-resolve': {
    accepts: ['FILES', 'TEXTS', 'ENVFILE', 'VARIABLES'],
    text: resolveText,
    effect: 'read',
    timeoutMs: MINUTE_MS,
  },
  'stack-read-release': { accepts: ['RELEASE'], text: readReleaseText, effect: 'read', timeoutMs: MINUTE_MS },
  'stack-look': {
    accepts: ['CONFIG', 'LOOSE', 'IMAGES', 'NGINX', 'PATHS'],
    text: lookText,
    effect: 'read',
    timeoutMs: 2 * MINUTE_MS,
  },
  'stack-versions': { accepts: [], text: versionsText, effect: 'read', timeoutMs: MINUTE_MS },
  'stack-hold': { accepts: ['RUN', 'WHO', 'WAIT_S'], text: holdText, effect: 'read', timeoutMs: 24 * 60 * MINUTE_MS },
  'stack-held': { accepts: ['RUN', 'TRIES'], text: heldText, effect: 'read', timeoutMs: 6 * MINUTE_MS },
  'stack-release': { accepts: ['RUN'], text: releaseText, effect: 'read', timeoutMs: MINUTE_MS },
  'stack-pull': { accepts: ['IMAGES'], text: pullText, effect: 'write', timeoutMs: 30 * MINUTE_MS },
  'stack-record': {
    accepts: [...OWN, ...RELEASE],
    text: ownText + stateText + recordText,
    effect: 'write',
    timeoutMs: 6 * MINUTE_MS,
  },
  'stack-set-state': {
    accepts: [...OWN, ...STATE],
    text: ownText + stateText + setStateText,
    effect: 'write',
    timeoutMs: 6 * MINUTE_MS,
  },
  'stack-create-dark': {
    accepts: [...OWN, ...RELEASE, ...STATE, 'SERVICES', 'OTHERS', 'KNOWN'],
    text: ownText + stateText + createDarkText,
    effect: 'write',
    timeoutMs: 15 * MINUTE_MS,
  },
  'stack-start': { accepts: [...OWN, 'IDS'], text: besideText + ownText + startText, effect: 'write', timeoutMs: 5 * MINUTE_MS },
  'stack-wait-healthy': {
    accepts: ['IDS', 'LIMIT_S'],
    text: healthText + waitHealthyText,
    effect: 'read',
    timeoutMs: 65 * MINUTE_MS,
  },
  'stack-publish': {
    accepts: [...OWN, ...STATE, 'IDS', 'ALIASES', 'LIMIT_S', 'ALSO'],
    text: ownText + stateText + healthText + publishText,
    effect: 'write',
    timeoutMs: 65 * MINUTE_MS,
  },
  'stack-switch-nginx': {
    accepts: [...OWN, ...STATE, 'NGINX', 'FILE_LIST', 'PROOF_TOKEN', 'PROOF_ADDRESS', 'PROOF_PORT', 'IDS'],
    text: ownText + stateText + containersText + httpText + nginxText + filesText + switchNginxText,
    effect: 'write',
    timeoutMs: 65 * MINUTE_MS,
  },
  'stack-set-nginx-files': {
    accepts: [...OWN, 'FILE_LIST'],
    text: ownText + filesText + setNginxFilesText,
    effect: 'write',
    timeoutMs: 6 * MINUTE_MS,
  },
  'stack-drain': {
    accepts: ['NGINX', 'WORKERS', 'LIMIT_MS'],
    text: nginxText + drainText,
    effect: 'read',
    timeoutMs: 65 * MINUTE_MS,
  },
  'stack-stop': {
    accepts: [...OWN, 'IDS', 'GRACE_S', 'RELIEF'],
    text: ownText + containersText + stopText,
    effect: 'write',
    timeoutMs: 65 * MINUTE_MS,
  },
  'stack-remove': {
    accepts: [...OWN, 'IDS', 'GRACE_S'],
    text: ownText + containersText + removeText,
    effect: 'write',
    timeoutMs: 65 * MINUTE_MS,
  },
  'stack-up': {
    accepts: [...OWN, 'RELEASE', 'SERVICE', 'OTHERS', 'RECREATE', 'ALONE', 'ENDS', 'LIMIT_S'],
    text: ownText + upText,
    effect: 'write',
    timeoutMs: 65 * MINUTE_MS,
  },
  'stack-ask': { accepts: ['URLS'], text: httpText + askText, effect: 'read', timeoutMs: 5 * MINUTE_MS },
  'stack-list-images': { accepts: ['REPOSITORIES'], text: listImagesText, effect: 'read', timeoutMs: 2 * MINUTE_MS },
  'stack-remove-images': {
    accepts: [...OWN, 'IDS'],
    text: ownText + removeImagesText,
    effect: 'write',
    timeoutMs: 15 * MINUTE_MS,
  },
} satisfies Record<string, Part>

export type StackProgramName = keyof typeof STACK_PROGRAMS

/** What every program is told: which stack it is about. */
const PLACE = ['PROJECT', 'DIRECTORY', 'STATE', 'COMPOSE'] as const

export const stackProgram = (name: StackProgramName): Program => {
  const { accepts, text, timeoutMs } = STACK_PROGRAMS[name]
  return { name, text: renderProgram(name, [...PLACE, ...accepts], commonText + text), timeoutMs }
}
