// The stand-alone file: what was computed lies in the page.

import { byId } from "./dom.js";
import { draw } from "./plan_draw.js";

draw(JSON.parse(byId("plan-data").textContent));
