"""The frozen vocabulary: jobs, states, results, hosts and the parameters of a run."""
