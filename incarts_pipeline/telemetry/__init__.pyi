from .instruments import Heard as Heard, answers_heard as answers_heard, run_ended as run_ended
from .spans import span as span, traced as traced
