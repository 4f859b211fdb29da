/**
 * GitHub workflows of an estate's own repository, made from its config: what they watch, which secrets they need and what they ask for
 * follows from it. They call the scripts with flags and decide nothing themselves. Pure.
 */

import { posix } from 'node:path'
import type { Estate } from '../estate/estate.ts'

/** Path in the repository → text. */
export type Workflows = Readonly<Record<string, string>>

export interface WorkflowInput {
  readonly estate: Pick<Estate, 'name' | 'cloud' | 'servers' | 'dns' | 'cluster'>
  /** From the repository's root. */
  readonly configPath: string
  readonly bunVersion: string
}

/** First line of every file that is ours to replace. */
export const MADE_BY = '# Made by Landfall: bun scripts/workflow.ts makes it anew. Change config.json, not this file.'

const SEAL = '# As made: '
const sealOf = (text: string): string => `${SEAL}${new Bun.CryptoHasher('sha256').update(text).digest('hex').slice(0, 16)}\n`

/** Whether it is a file of ours that nobody has changed since. What was made before there were seals counts as changed. */
export function isAsMade(text: string): boolean {
  const made = text.slice(0, text.lastIndexOf(SEAL))
  return text.startsWith(MADE_BY) && text === `${made}${sealOf(made)}`
}

const IMAGE_FILE = '.github/workflows/infra-image.yml'
const SWEEP_FILE = '.github/workflows/infra-sweep.yml'
const RENEW_FILE = '.github/workflows/infra-renew.yml'
const PROVISION_FILE = '.github/workflows/infra-provision.yml'
/** Every file that some config asks for. */
export const WORKFLOW_FILES = [IMAGE_FILE, SWEEP_FILE, RENEW_FILE, PROVISION_FILE] as const
const IMAGE_NAME = 'Build Infrastructure Image'
/** Longer than a build may take, here or at somebody's machine: one that runs is never swept. */
const SWEEP_HOURS = 6

/** Pinned by commit, because a tag can be moved by whoever takes the action over. */
const ACTIONS = {
  checkout: 'actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1',
  bun: 'oven-sh/setup-bun@0c5077e51419868618aeaa5fe8019c62421857d6 # v2.2.0',
  nix: 'cachix/install-nix-action@630ae543ea3a38a9a4166f03376c02c50f408342 # v31.11.0',
} as const

const TOKENS = { hetzner: 'HCLOUD_TOKEN', digitalocean: 'DIGITALOCEAN_TOKEN' } as const

const needsImage = ({ cloud, servers }: WorkflowInput['estate']): boolean =>
  cloud === 'hetzner' && servers.some(spec => spec.image.kind === 'golden')
const installsNixos = ({ servers }: WorkflowInput['estate']): boolean => servers.some(spec => spec.nixos !== undefined)

const expression = (text: string): string => `\${{ ${text} }}`
const indented = (lines: readonly string[], spaces: number): string =>
  lines.map(line => `${' '.repeat(spaces)}${line}\n`).join('')

const secretsOf = ({ cloud, dns }: WorkflowInput['estate']): readonly string[] => [
  TOKENS[cloud],
  ...(dns ? ['CLOUDFLARE_API_TOKEN'] : []),
]
/** The env file of the service, from the repository's root, where no checkout has it. */
export const serviceEnvPath = ({ servers }: Pick<Estate, 'servers'>, configPath: string): string | undefined => {
  const envFile = servers.find(spec => spec.service)?.service?.envFile
  return envFile === undefined ? undefined : posix.join(posix.dirname(configPath), envFile)
}

/** The secret that holds the text of that file. */
export const SERVICE_ENV = 'LANDFALL_SERVICE_ENV'

/** The registry's password is part of what the machines of a cluster have. */
const registryOf = ({ cluster }: WorkflowInput['estate']): readonly string[] =>
  cluster?.registry ? [cluster.registry.passwordVariable] : []
const secretLines = (names: readonly string[]): readonly string[] =>
  names.map(name => `${name}: ${expression(`secrets.${name}`)}`)

/** Names of repository secrets that the workflows need, with where each comes from. Pure. */
export const neededSecrets = (estate: WorkflowInput['estate']): readonly string[] => [
  ...secretsOf(estate),
  ...registryOf(estate),
  'LANDFALL_SSH_PRIVATE_KEY',
  ...(estate.servers.some(spec => spec.service?.envFile !== undefined) ? [SERVICE_ENV] : []),
]

const head = ({ estate }: WorkflowInput): string => `permissions:
  contents: read
# One at a time, and never cut off: what is half done is finished by the next run, but it would cost one.
concurrency:
  group: landfall-${estate.name}
  cancel-in-progress: false
`

const setUp = (input: WorkflowInput, withNix: boolean, ref?: string): string => `      - uses: ${ACTIONS.checkout}
        with:
          persist-credentials: false
${ref === undefined ? '' : `          ref: ${ref}\n`}      - uses: ${ACTIONS.bun}
        with:
          bun-version: ${input.bunVersion}
${withNix ? `      - uses: ${ACTIONS.nix}\n` : ''}      - run: bun install --frozen-lockfile
`

const sshKey = `      - name: Write the SSH key down
        env:
          KEY: ${expression('secrets.LANDFALL_SSH_PRIVATE_KEY')}
        run: |
          umask 077
          printf '%s\\n' "$KEY" >"$RUNNER_TEMP/landfall_key"
          ssh-keygen -y -f "$RUNNER_TEMP/landfall_key" >"$RUNNER_TEMP/landfall_key.pub"
`

/**
 * An empty file would take the service's variables away, so a secret that is not there ends the run. What could be said of the secret is a line
 * or a value of it, so each is masked, but for values so short that they are common words.
 */
const writeServiceEnv = (path: string): string => `      - name: Write the service's variables down
        env:
          FILE: ${JSON.stringify(path)}
          VARIABLES: ${expression(`secrets.${SERVICE_ENV}`)}
        run: |
          : "\${VARIABLES:?the secret ${SERVICE_ENV} of this repository is not set}"
          umask 077
          mkdir -p "$(dirname "$FILE")"
          rm -f "$FILE"
          printf '%s\\n' "$VARIABLES" | tr -d '\\r' >"$FILE"
          sed -nE 's/%/%25/g; s/^.*=.*$/::add-mask::&/p' "$FILE"
          sed -nE "s/%/%25/g; s/^[^=]*=['\\"]?(.{7,}[^'\\"])['\\"]?\\$/::add-mask::\\1/p" "$FILE"
`

const renderImage = (input: WorkflowInput): string => {
  const { estate, configPath } = input
  const env = indented(secretLines([TOKENS.hetzner]), 10)
  return `${MADE_BY}
name: ${IMAGE_NAME}
on:
  push:
    branches: [main]
    paths:
      - ${configPath}
      - flake.nix
      - flake.lock
      - nixos/**
      - packer/**
  workflow_dispatch:
${head(input)}jobs:
  image:
    runs-on: ubuntu-24.04
    timeout-minutes: 120
    steps:
${setUp(input, true)}      - name: Build the image, where none of the present sources exists
        env:
${env}        run: nix develop --command bun scripts/image.ts build --config ${configPath} --yes --json
      - name: Keep the newest three
        env:
${env}        run: bun scripts/image.ts prune --config ${configPath} --keep 3 --yes --confirm ${estate.name} --json
`
}

/**
 * A workflow of its own: what a build that was cut off leaves is too young for its own run, and a sweep as part of the image's workflow would
 * start the provisioning that follows it.
 */
const renderSweep = (input: WorkflowInput): string => `${MADE_BY}
name: Sweep Build Servers
on:
  schedule:
    - cron: '47 4 * * *'
  workflow_dispatch:
permissions:
  contents: read
# Apart from the other workflows: of those that wait in one group GitHub keeps the last alone, and a build must not fall out for a sweep.
concurrency:
  group: landfall-${input.estate.name}-sweep
  cancel-in-progress: false
jobs:
  sweep:
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    steps:
${setUp(input, false)}      - name: Delete what builds that were cut off have left
        env:
${indented(secretLines([TOKENS.hetzner]), 10)}        run: bun scripts/image.ts sweep --config ${input.configPath} --hours ${SWEEP_HOURS} --yes --json
`

const renderProvision = (input: WorkflowInput): string => {
  const { estate, configPath } = input
  const image = needsImage(estate)
  const after = image
    ? `  workflow_run:
    workflows: [${IMAGE_NAME}]
    types: [completed]
    branches: [main]
`
    : ''
  const condition = image
    ? `    # A run of the image's workflow counts when it succeeded, here and not in a fork.
    if: >-
      github.event_name == 'workflow_dispatch' ||
      (github.event.workflow_run.conclusion == 'success' &&
      github.event.workflow_run.head_repository.full_name == github.repository)
`
    : ''
  const withNix = installsNixos(estate)
  const bun = withNix ? 'nix develop --command bun' : 'bun'
  const envPath = serviceEnvPath(estate, configPath)
  const ref = image ? expression('github.event.workflow_run.head_sha || github.sha') : undefined
  return `${MADE_BY}
name: Provision Infrastructure
on:
${after}  workflow_dispatch:
    inputs:
      action:
        description: What to do
        type: choice
        options: [plan, apply, destroy]
        default: plan
        required: true
      confirm:
        description: To destroy, the name of the estate
        type: string
        required: false
${head(input)}jobs:
  provision:
${condition}    runs-on: ubuntu-24.04
    timeout-minutes: 120
    steps:
${setUp(input, withNix, ref)}${sshKey}${envPath === undefined ? '' : writeServiceEnv(envPath)}      - name: Plan, apply or destroy
        env:
          ACTION: ${expression("inputs.action || 'apply'")}
          CONFIRM: ${expression('inputs.confirm')}
          LANDFALL_SSH_KEY: ${expression('runner.temp')}/landfall_key
${indented(secretLines(secretsOf(estate)), 10)}        run: |
          case $ACTION in
            # 2: there are changes, which is what a plan is for.
            plan) ${bun} scripts/setup.ts --config ${configPath} --plan --json || [ $? -eq 2 ] ;;
            apply) ${bun} scripts/setup.ts --config ${configPath} --yes --json ;;
            destroy) ${bun} scripts/destroy.ts --config ${configPath} --yes --confirm "$CONFIRM" --json ;;
          esac
`
}

/** A certificate is ordered anew a month before its end, so a week without a run costs nothing. */
const renderRenew = (input: WorkflowInput): string => `${MADE_BY}
name: Renew Certificates
on:
  schedule:
    - cron: '17 4 * * *'
  workflow_dispatch:
${head(input)}jobs:
  renew:
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    steps:
${setUp(input, false)}${sshKey}      - name: Order certificates anew that end soon
        env:
          LANDFALL_SSH_KEY: ${expression('runner.temp')}/landfall_key
${indented(secretLines([...secretsOf(input.estate), ...registryOf(input.estate)]), 10)}        run: bun scripts/cluster.ts renew --config ${input.configPath} --yes --json
`

/** The workflows that an estate's repository needs. */
export function desiredWorkflows(asked: WorkflowInput): Workflows {
  // GitHub compares paths as text: `./config.json` would match no change.
  const input = { ...asked, configPath: posix.normalize(asked.configPath) }
  const texts: Workflows = {
    ...(needsImage(input.estate) ? { [IMAGE_FILE]: renderImage(input), [SWEEP_FILE]: renderSweep(input) } : {}),
    ...(input.estate.cluster && input.estate.cluster.certificateNames.length > 0 ? { [RENEW_FILE]: renderRenew(input) } : {}),
    [PROVISION_FILE]: renderProvision(input),
  }
  return Object.fromEntries(Object.entries(texts).map(([path, text]) => [path, `${text}${sealOf(text)}`]))
}
