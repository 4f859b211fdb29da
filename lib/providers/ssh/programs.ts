/**
 * The shell programs as they are sent: each is a header that names it, the values it takes, the common prelude, and its own text.
 * What they take and print is said in estate/programs.ts.
 */

import { PROGRAMS, type ProgramName } from '../../estate/programs.ts'
import type { Program } from '../ports/machine.ts'
import appHistoryText from './programs/app-history.sh' with { type: 'text' }
import appImageText from './programs/app-image.sh' with { type: 'text' }
import appendHistoryText from './programs/append-app-history.sh' with { type: 'text' }
import clusterText from './programs/cluster.sh' with { type: 'text' }
import clusterFactsText from './programs/cluster-facts.sh' with { type: 'text' }
import clusterLogText from './programs/cluster-log.sh' with { type: 'text' }
import confirmClusterPartText from './programs/confirm-cluster-part.sh' with { type: 'text' }
import dokployText from './programs/dokploy.sh' with { type: 'text' }
import drillText from './programs/drill-backup.sh' with { type: 'text' }
import factsText from './programs/facts.sh' with { type: 'text' }
import guardText from './programs/guard.sh' with { type: 'text' }
import inspectText from './programs/inspect.sh' with { type: 'text' }
import installDockerText from './programs/install-docker.sh' with { type: 'text' }
import installDokployText from './programs/install-dokploy.sh' with { type: 'text' }
import installHostText from './programs/install-host.sh' with { type: 'text' }
import installWorkerText from './programs/install-worker.sh' with { type: 'text' }
import joinSwarmText from './programs/join-swarm.sh' with { type: 'text' }
import leaveSwarmText from './programs/leave-swarm.sh' with { type: 'text' }
import markInstallText from './programs/mark-install.sh' with { type: 'text' }
import preludeText from './programs/prelude.sh' with { type: 'text' }
import previewText from './programs/preview.sh' with { type: 'text' }
import previewDownText from './programs/preview-down.sh' with { type: 'text' }
import previewEdgeText from './programs/preview-edge.sh' with { type: 'text' }
import previewFetchText from './programs/preview-fetch.sh' with { type: 'text' }
import previewHostText from './programs/preview-host.sh' with { type: 'text' }
import previewLogsText from './programs/preview-logs.sh' with { type: 'text' }
import previewLookText from './programs/preview-look.sh' with { type: 'text' }
import previewUpText from './programs/preview-up.sh' with { type: 'text' }
import previewWallsText from './programs/preview-walls.sh' with { type: 'text' }
import readHistoryText from './programs/read-app-history.sh' with { type: 'text' }
import readAppImageText from './programs/read-app-image.sh' with { type: 'text' }
import readCertificatesText from './programs/read-certificates.sh' with { type: 'text' }
import readClusterSecretsText from './programs/read-cluster-secrets.sh' with { type: 'text' }
import readLoginText from './programs/read-dokploy-login.sh' with { type: 'text' }
import readSwarmTokenText from './programs/read-swarm-token.sh' with { type: 'text' }
import rotateText from './programs/rotate-host-key.sh' with { type: 'text' }
import serviceText from './programs/service.sh' with { type: 'text' }
import serviceFactsText from './programs/service-facts.sh' with { type: 'text' }
import serviceLogsText from './programs/service-logs.sh' with { type: 'text' }
import setClusterPartText from './programs/set-cluster-part.sh' with { type: 'text' }
import setClusterVisitorsText from './programs/set-cluster-visitors.sh' with { type: 'text' }
import setPanelPortText from './programs/set-panel-port.sh' with { type: 'text' }
import setSwarmNodeText from './programs/set-swarm-node.sh' with { type: 'text' }
import setSwarmPeersText from './programs/set-swarm-peers.sh' with { type: 'text' }
import sshdText from './programs/sshd.sh' with { type: 'text' }
import startText from './programs/start-dokploy-install.sh' with { type: 'text' }
import startInstallText from './programs/start-install.sh' with { type: 'text' }
import startServiceText from './programs/start-service-update.sh' with { type: 'text' }
import startSystemText from './programs/start-system-update.sh' with { type: 'text' }
import startWorkerText from './programs/start-worker-install.sh' with { type: 'text' }
import swarmText from './programs/swarm.sh' with { type: 'text' }
import swarmNodesText from './programs/swarm-nodes.sh' with { type: 'text' }
import taskLogText from './programs/task-log.sh' with { type: 'text' }
import runnerText from './programs/update-runner.sh' with { type: 'text' }
import updateServiceText from './programs/update-service.sh' with { type: 'text' }
import updateSystemText from './programs/update-system.sh' with { type: 'text' }
import watchText from './programs/watch-dokploy-install.sh' with { type: 'text' }
import watchUpdateText from './programs/watch-update.sh' with { type: 'text' }
import workerText from './programs/worker.sh' with { type: 'text' }
import writeCertificatesText from './programs/write-certificates.sh' with { type: 'text' }
import writeClusterSecretsText from './programs/write-cluster-secrets.sh' with { type: 'text' }
import writeLoginText from './programs/write-dokploy-login.sh' with { type: 'text' }
import writeSettingsText from './programs/write-service-settings.sh' with { type: 'text' }

/** The installer as it lies on a server: /usr/local/lib/landfall/install-dokploy. */
export const INSTALLER_TEXT = `#!/bin/sh\n${[dokployText, sshdText, guardText, installHostText, installDockerText, installDokployText].join('')}`

/** The same for a server that joins a swarm: /usr/local/lib/landfall/install-worker. */
export const WORKER_INSTALLER_TEXT = `#!/bin/sh\n${[dokployText, workerText, sshdText, guardText, installHostText, installDockerText, installWorkerText].join('')}`

const END_OF_INSTALLER = 'LANDFALL-END-OF-INSTALLER'
const writeInstaller = (text: string): string =>
  `write_installer() {\n  cat >"$1" <<'${END_OF_INSTALLER}'\n${text}${END_OF_INSTALLER}\n}\n\n`

/** What an update's unit runs, as it lies on the machine. */
const END_OF_RUNNER = 'LANDFALL-END-OF-RUNNER'
const writeRunner = (text: string): string =>
  `write_runner() {\n  cat >"$1" <<'${END_OF_RUNNER}'\n#!/bin/sh\n${runnerText}${serviceText}${text}${END_OF_RUNNER}\n}\n\n`

interface Part {
  /** Names that the program takes; anything else on its stdin ends it with exit code 65. */
  readonly accepts: readonly string[]
  /** Whether it may change the machine. */
  readonly effect: 'read' | 'write'
  readonly text: string
}

const PARTS = {
  facts: { accepts: [], effect: 'read', text: dokployText + factsText },
  'rotate-host-key': { accepts: ['PRIVATE', 'PUBLIC'], effect: 'write', text: sshdText + rotateText },
  'mark-install': { accepts: ['PHASE'], effect: 'write', text: markInstallText },
  'read-dokploy-login': { accepts: [], effect: 'read', text: readLoginText },
  'write-dokploy-login': { accepts: ['EMAIL', 'PASSWORD', 'API_KEY'], effect: 'write', text: writeLoginText },
  // The digests are optional: without them, what the first pull resolved is recorded and held to.
  'start-dokploy-install': {
    accepts: ['VERSION', 'ADVERTISE_ADDR', 'POOL', 'DOKPLOY_DIGEST', 'POSTGRES_DIGEST', 'TRAEFIK_DIGEST'],
    effect: 'write',
    text: dokployText + writeInstaller(INSTALLER_TEXT) + startInstallText + startText,
  },
  'watch-dokploy-install': { accepts: [], effect: 'read', text: dokployText + watchText },
  'set-panel-port': { accepts: ['STATE'], effect: 'write', text: dokployText + guardText + setPanelPortText },
  'start-worker-install': {
    accepts: ['POOL'],
    effect: 'write',
    text: dokployText + workerText + writeInstaller(WORKER_INSTALLER_TEXT) + startInstallText + startWorkerText,
  },
  'watch-worker-install': { accepts: [], effect: 'read', text: dokployText + workerText + watchText },
  'set-swarm-peers': { accepts: ['PEERS'], effect: 'write', text: dokployText + guardText + setSwarmPeersText },
  'swarm-nodes': { accepts: [], effect: 'read', text: swarmText + swarmNodesText },
  'read-swarm-token': { accepts: [], effect: 'read', text: readSwarmTokenText },
  'join-swarm': { accepts: ['TOKEN', 'MANAGER', 'ADVERTISE_ADDR', 'LEAVE'], effect: 'write', text: swarmText + joinSwarmText },
  'leave-swarm': { accepts: [], effect: 'write', text: swarmText + leaveSwarmText },
  'set-swarm-node': { accepts: ['NODE', 'STATE'], effect: 'write', text: setSwarmNodeText },
  inspect: { accepts: [], effect: 'read', text: inspectText },
  'read-certificates': { accepts: [], effect: 'read', text: readCertificatesText },
  'write-certificates': { accepts: ['ACME'], effect: 'write', text: writeCertificatesText },
  'service-facts': { accepts: [], effect: 'read', text: serviceText + serviceFactsText },
  'write-service-settings': {
    accepts: ['SETTINGS', 'VARIABLES', 'HASH'],
    effect: 'write',
    text: serviceText + writeSettingsText,
  },
  'start-service-update': {
    accepts: ['REVISION', 'BRANCH', 'PORT', 'HEALTH', 'BACK'],
    effect: 'write',
    text: serviceText + writeRunner(updateServiceText) + startServiceText,
  },
  'start-system-update': {
    accepts: ['ARCHIVE', 'SYSTEM', 'CONTENT'],
    effect: 'write',
    text: serviceText + writeRunner(updateSystemText) + startSystemText,
  },
  'watch-update': { accepts: ['KIND'], effect: 'read', text: serviceText + watchUpdateText },
  'service-logs': { accepts: ['LINES', 'CURSOR'], effect: 'read', text: serviceText + serviceLogsText },
  'read-app-history': { accepts: ['APP'], effect: 'read', text: appHistoryText + readHistoryText },
  'append-app-history': { accepts: ['APP', 'ENTRY'], effect: 'write', text: appHistoryText + appendHistoryText },
  'read-app-image': { accepts: ['IMAGE'], effect: 'read', text: readAppImageText },
  'app-image': { accepts: ['ACTION', 'APP_NAME', 'IMAGE'], effect: 'write', text: appImageText },
  'task-log': { accepts: ['TASK', 'LINES'], effect: 'read', text: taskLogText },
  'drill-backup': {
    accepts: ['KIND', 'IMAGE', 'BUCKET', 'KEY', 'BYTES', 'ENDPOINT', 'REGION', 'PROVIDER', 'ACCESS_KEY', 'SECRET_KEY'],
    effect: 'write',
    text: drillText,
  },
  'preview-look': { accepts: [], effect: 'read', text: previewText + previewWallsText + previewLookText },
  'preview-host': { accepts: ['RANGE'], effect: 'write', text: previewText + previewWallsText + previewHostText },
  'preview-fetch': {
    accepts: ['NUMBER', 'HEAD', 'GENERATION', 'REPOSITORY', 'COMPOSE_FILE', 'TOKEN'],
    effect: 'write',
    text: previewText + previewFetchText,
  },
  'preview-up': {
    accepts: [
      'NUMBER',
      'HEAD',
      'GENERATION',
      'COMPOSE',
      'BUILD_PATHS',
      'SERVICES',
      'SERVICE',
      'PORT',
      'VARIABLES',
      'LIMIT',
      'WHY',
    ],
    effect: 'write',
    text: previewText + previewUpText,
  },
  'preview-down': { accepts: ['NUMBER'], effect: 'write', text: previewText + previewDownText },
  'preview-edge': { accepts: ['CERTIFICATE', 'KEY', 'CADDYFILE', 'IMAGE'], effect: 'write', text: previewText + previewEdgeText },
  'preview-logs': { accepts: ['NUMBER'], effect: 'read', text: previewText + previewLogsText },
  'cluster-facts': { accepts: [], effect: 'read', text: clusterText + clusterFactsText },
  'read-cluster-secrets': { accepts: [], effect: 'read', text: readClusterSecretsText },
  'write-cluster-secrets': { accepts: ['SECRETS'], effect: 'write', text: writeClusterSecretsText },
  'set-cluster-part': {
    accepts: ['PART', 'CONFIG', 'UNIT', 'VERSION', 'URL', 'SHA256', 'CA', 'CERT', 'KEY', 'JOIN', 'LOGINS', 'BLIND_S'],
    effect: 'write',
    text: clusterText + setClusterPartText,
  },
  'confirm-cluster-part': { accepts: ['PART'], effect: 'write', text: clusterText + confirmClusterPartText },
  'set-cluster-visitors': { accepts: ['VISITORS', 'BLIND_S'], effect: 'write', text: clusterText + setClusterVisitorsText },
  'cluster-log': { accepts: ['PART', 'LINES'], effect: 'read', text: clusterLogText },
} satisfies Record<ProgramName, Part>

/** A complete program: reads the values called `accepts` into variables of these names, then runs `text`. */
export const renderProgram = (name: string, accepts: readonly string[], text: string): string =>
  `# landfall:${name}\nACCEPTS=' ${accepts.join(' ')} '\n${preludeText}${text}`

const program = (name: ProgramName): Program => ({
  name,
  text: renderProgram(name, PARTS[name].accepts, PARTS[name].text),
  timeoutMs: PROGRAMS[name].timeoutMs,
})

export const PROGRAM_TEXTS: Record<ProgramName, Program> = {
  facts: program('facts'),
  'rotate-host-key': program('rotate-host-key'),
  'mark-install': program('mark-install'),
  'read-dokploy-login': program('read-dokploy-login'),
  'write-dokploy-login': program('write-dokploy-login'),
  'start-dokploy-install': program('start-dokploy-install'),
  'watch-dokploy-install': program('watch-dokploy-install'),
  'set-panel-port': program('set-panel-port'),
  'start-worker-install': program('start-worker-install'),
  'watch-worker-install': program('watch-worker-install'),
  'set-swarm-peers': program('set-swarm-peers'),
  'swarm-nodes': program('swarm-nodes'),
  'read-swarm-token': program('read-swarm-token'),
  'join-swarm': program('join-swarm'),
  'leave-swarm': program('leave-swarm'),
  'set-swarm-node': program('set-swarm-node'),
  inspect: program('inspect'),
  'read-certificates': program('read-certificates'),
  'write-certificates': program('write-certificates'),
  'service-facts': program('service-facts'),
  'write-service-settings': program('write-service-settings'),
  'start-service-update': program('start-service-update'),
  'start-system-update': program('start-system-update'),
  'watch-update': program('watch-update'),
  'service-logs': program('service-logs'),
  'read-app-history': program('read-app-history'),
  'append-app-history': program('append-app-history'),
  'read-app-image': program('read-app-image'),
  'app-image': program('app-image'),
  'task-log': program('task-log'),
  'drill-backup': program('drill-backup'),
  'preview-look': program('preview-look'),
  'preview-host': program('preview-host'),
  'preview-fetch': program('preview-fetch'),
  'preview-up': program('preview-up'),
  'preview-down': program('preview-down'),
  'preview-edge': program('preview-edge'),
  'preview-logs': program('preview-logs'),
  'cluster-facts': program('cluster-facts'),
  'read-cluster-secrets': program('read-cluster-secrets'),
  'write-cluster-secrets': program('write-cluster-secrets'),
  'set-cluster-part': program('set-cluster-part'),
  'confirm-cluster-part': program('confirm-cluster-part'),
  'set-cluster-visitors': program('set-cluster-visitors'),
  'cluster-log': program('cluster-log'),
}

/** Whether running `name` may change the machine; a program that is not listed is taken to. */
export const effectOf = (name: string): 'read' | 'write' => (isListed(name) ? PARTS[name].effect : 'write')

const isListed = (name: string): name is ProgramName => Object.hasOwn(PARTS, name)
