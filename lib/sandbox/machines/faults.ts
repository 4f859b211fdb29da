/** Ways to make a simulated machine misbehave, by server name. They are kept, so that a rehearsal in another process meets them too. */

import type { Collection } from '../kit.ts'
import type { FaultsRow, InstallStage } from './state.ts'

export interface MachineFaults {
  /** SSH is never answered. */
  neverBoots(name: string): void
  cloudInitError(name: string, text: string): void
  /** cloud-init is still running for so long after SSH answers. */
  cloudInitLate(name: string, ms: number): void
  /** The next installation stops in this stage. */
  failInstall(name: string, stage: InstallStage): void
  diskFull(name: string): void
  /** Dokploy's process is gone until `reviveDokploy`; Traefik goes on and answers 502 for it. */
  killDokploy(name: string): void
  reviveDokploy(name: string): void
  /** Takes every fault away. */
  heal(name: string): void
  /** The fault of an installation is used up by its start. */
  forgetInstallFailure(name: string): void
}

/** @param changed called after each change, so that open listeners follow */
export const createFaults = (rows: Collection<FaultsRow>, changed: (name: string) => void): MachineFaults => {
  const set = (name: string, fault: Omit<FaultsRow, 'name'>) => {
    rows.put(name, { name, ...rows.get(name), ...fault })
    changed(name)
  }
  const drop = (name: string, fault: keyof FaultsRow) => {
    const { [fault]: _dropped, ...others } = rows.get(name) ?? {}
    rows.put(name, { ...others, name })
    changed(name)
  }
  return {
    neverBoots: name => set(name, { neverBoots: true }),
    cloudInitError: (name, cloudInitError) => set(name, { cloudInitError }),
    cloudInitLate: (name, cloudInitLateMs) => set(name, { cloudInitLateMs }),
    failInstall: (name, failInstallAt) => set(name, { failInstallAt }),
    diskFull: name => set(name, { diskFull: true }),
    killDokploy: name => set(name, { dokployKilled: true }),
    reviveDokploy: name => drop(name, 'dokployKilled'),
    forgetInstallFailure: name => drop(name, 'failInstallAt'),
    heal: name => {
      rows.delete(name)
      changed(name)
    },
  }
}
