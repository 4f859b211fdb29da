/**
 * The move of names from their old host to a server of ours, stage by stage. A visitor finds the old place or the new one at every moment,
 * each with a trusted certificate: the certificate is there before the switch, the switch is one batch, and the old TTL is waited out first.
 */

import { certificateSteps } from './cutover-certificate.ts'
import { preflightStep, snapshotStep } from './cutover-preflight.ts'
import { settleStep } from './cutover-settle.ts'
import { drainStep, lowerStep, originStep, raiseStep, switchStep } from './cutover-switch.ts'
import type { CutoverDeps } from './cutover-world.ts'
import type { EstateStep } from './deps.ts'
import { zoneStep } from './dns.ts'

/** The whole move of `deps.names`, in order. */
export const cutoverSteps = (deps: CutoverDeps): EstateStep[] => [
  zoneStep(deps),
  preflightStep(deps),
  snapshotStep(deps),
  ...certificateSteps(deps),
  originStep(deps),
  lowerStep(deps),
  drainStep(deps),
  switchStep(deps),
  settleStep(deps),
  raiseStep(deps),
]
