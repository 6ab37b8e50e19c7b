// Packages of package.json, which tools/fetch.py has put into the folder that $CABINET_NODE_MODULES names.

import { createRequire } from "node:module";
import path from "node:path";

const folder = process.env.CABINET_NODE_MODULES;
if (!folder) throw new Error("CABINET_NODE_MODULES does not name the folder of tools/fetch.py clients");

export const load = createRequire(path.join(path.resolve(folder), "any.js"));
